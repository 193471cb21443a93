// The sets that are made of image files: folders, tars of folders, WebDataset shards.
#include "data/encoded_dataset.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>

#include "tensor/error.h"
#include "tensor/str.h"
#include "tests/data/image_files.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

const std::string kJpeg = image_text("420.jpg"), kPng = image_text("rgb.png");

void put_below(const std::string& path, const std::string& bytes) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  put_file(path, bytes);
}

std::shared_ptr<const Dataset> open(const std::string& name, const std::string& root,
                                    Split split = Split::kTrain) {
  return open_dataset(name, {.root = root, .split = split});
}

std::string error_of(const std::string& name, const std::string& root,
                     Split split = Split::kTrain) {
  try {
    open(name, root, split);
  } catch (const DataError& error) {
    CHECK(error.code() == ExitCode::kData);
    return error.what();
  }
  return "no error";
}

/// "class:file" of every sample.
std::vector<std::string> samples_of(const Dataset& data) {
  std::vector<std::string> all;
  const std::vector<std::string> names = data.class_names();
  for (int64_t i = 0; i < data.size(); ++i) {
    EncodedImage file;
    data.encoded(i, file);
    all.push_back(names[static_cast<size_t>(data.label(i))] + ':' +
                  file.path.substr(file.path.rfind('/') + 1));
  }
  return all;
}

const std::vector<std::string> kExpected = {"Zebra:a.JPG", "Zebra:b.png", "ant:2.jpg", "ant:10.jpg",
                                            "ant:3.png"};

}  // namespace

TEST_CASE("image_folder: classes are sorted folders, samples come by folder, then by name") {
  const TemporaryFolder root;
  for (const char* const file :
       {"train/ant/2.jpg", "train/ant/x/3.png", "train/ant/notes.txt", "train/Zebra/b.png",
        "train/Zebra/a.JPG", "train/ant/b/10.jpg", "val/ant/1.jpg", "val/Zebra/1.jpg"}) {
    put_below(root / file, std::string(file).ends_with("png") ? kPng : kJpeg);
  }
  const auto train = open("image_folder", root.path());
  CHECK(train->class_names() == std::vector<std::string>{"Zebra", "ant"});
  CHECK(samples_of(*train) == kExpected);
  CHECK(train->image_size() == ImageSize{3, 29, 37});
  CHECK(train->is_encoded());
  CHECK(train->default_mean() == std::vector<double>{0.485, 0.456, 0.406});
  CHECK(open("image_folder", root.path(), Split::kTest)->size() == 2);
}

TEST_CASE("tar_folder: the same classes and samples as the unpacked folder, whatever the order") {
  const TemporaryFolder root;
  const Members members = {{"train/", ""},
                           {"train/ant/", ""},
                           {"train/ant/x/3.png", kPng},
                           {"train/ant/2.jpg", kJpeg},
                           {"train/Zebra/b.png", kPng},
                           {"train/README.jpeg.txt", "no image"},
                           {"train/ant/b/10.jpg", kJpeg},
                           {"train/Zebra/a.JPG", kJpeg}};
  put_file(root / "train.tar", tar_of(members));
  put_file(root / "val.tar", tar_of({{"./Zebra/1.jpg", kJpeg}, {"./ant/2.jpg", kPng}}));
  const auto train = open("tar_folder", root.path());
  CHECK(samples_of(*train) == kExpected);
  EncodedImage file;
  train->encoded(1, file);
  CHECK(std::string(file.bytes.begin(), file.bytes.end()) == kPng);
  CHECK(file.path == root / "train.tar:Zebra/b.png");
  const auto test = open("tar_folder", root.path(), Split::kTest);
  CHECK(samples_of(*test) == std::vector<std::string>{"Zebra:1.jpg", "ant:2.jpg"});
  Image image;
  image.resize(test->image_size());
  test->image(1, image.pixels.data());
  CHECK(image.pixels == picture().pixels);
}

TEST_CASE("tar_folder, image_folder: what is missing or empty is named, with what is expected") {
  const TemporaryFolder root;
  CHECK(error_of("tar_folder", "").starts_with("data.root: missing; tar_folder reads "));
  CHECK(error_of("tar_folder", root.path())
            .starts_with(root / "train.tar: cannot read: No such file or directory; tar_folder"));
  put_file(root / "train.tar", tar_of({{"cat/", ""}, {"dog/1.jpg", kJpeg}}));
  CHECK(error_of("tar_folder", root.path())
            .starts_with(root / "train.tar: class cat holds no images; tar_folder reads"));
  put_file(root / "train.tar", tar_of({{"1.jpg", kJpeg}}));
  CHECK(error_of("tar_folder", root.path()).starts_with(root / "train.tar: holds no classes"));
  put_file(root / "train.tar", tar_of({{"cat/1.jpg", "no image"}, {"dog/1.jpg", ""}}));
  CHECK(error_of("tar_folder", root.path()) ==
        root /
            "train.tar:cat/1.jpg: is no image: expected JPEG, PNG, BMP or PNM; none of the 2 "
            "images of tar_folder can be read");
  CHECK(error_of("image_folder", root.path())
            .starts_with(root / "train: no such folder; image_folder reads"));
  std::filesystem::create_directories(root / "train/cat");
  put_below(root / "train/dog/1.jpg", kJpeg);
  CHECK(error_of("image_folder", root.path())
            .starts_with(root / "train: class cat holds no images; image_folder reads"));
}

TEST_CASE(
    "encoded data sets: the size is that of the first image that can be read, and another "
    "size is an error that says what to set") {
  const TemporaryFolder root;
  put_file(
      root / "train.tar",
      tar_of({{"cat/1.jpg", "damaged"}, {"cat/2.jpg", kJpeg}, {"dog/3.ppm", "P6\n1 1\n255\nabc"}}));
  const auto data = open("tar_folder", root.path());
  CHECK(data->image_size() == ImageSize{3, 29, 37});
  Image image;
  image.resize(data->image_size());
  CHECK_THROWS_AS(data->image(0, image.pixels.data()), DamagedImage);
  CHECK_NOTHROW(data->image(1, image.pixels.data()));
  CHECK_THROWS_WITH_AS(data->image(2, image.pixels.data()),
                       (root / "train.tar:dog/3.ppm: is 1 x 1, but the first image is 37 x 29; set "
                               "data.image_size to bring all to one size")
                           .c_str(),
                       DataError);
}

TEST_CASE("webdataset: shards in order of their names, labels from .cls and .json") {
  const TemporaryFolder root;
  put_file(root / "train-000001.tar",
           tar_of({{"c/9.seg.png", kPng}, {"c/9.cls", "4\n"}, {"c/9.jpg", kJpeg}}));
  put_file(root / "train-000000.tar", tar_of({{"a.jpg", kJpeg},
                                              {"a.cls", "2"},
                                              {"a.txt", "a cat"},
                                              {"b.json", "{\"label\": 0}"},
                                              {"b.png", kPng}}));
  put_file(root / "val-000000.tar", tar_of({{"z.jpg", kJpeg}, {"z.cls", "6"}}));
  const std::vector<std::string> expected = {"2:" + (root / "train-000000.tar:a.jpg"),
                                             "0:" + (root / "train-000000.tar:b.png"), "4:9.jpg"};
  for (const std::string& pattern : {root.path(), root / "train-{000000..000001}.tar",
                                     root / "train-*.tar", root / "train-00000{0,1}.tar"}) {
    CAPTURE(pattern);
    const auto train = open("webdataset", pattern);
    REQUIRE(train->size() == 3);
    CHECK(std::vector<int>{train->label(0), train->label(1), train->label(2)} ==
          std::vector<int>{2, 0, 4});
    CHECK(train->class_names().size() == 7);  // the test split has class 6
    EncodedImage file;
    train->encoded(2, file);
    CHECK(std::string(file.bytes.begin(), file.bytes.end()) == kJpeg);
    CHECK(file.path == root / "train-000001.tar:c/9.jpg");
    CHECK(open("webdataset", pattern, Split::kTest)->label(0) == 6);
  }
  CHECK(open("webdataset", root / "train-000000.tar*")->size() == 2);
}

TEST_CASE("webdataset: a missing shard, a missing label and a label that is none are named") {
  const TemporaryFolder root;
  CHECK(error_of("webdataset", root.path())
            .starts_with(root.path() + ": no shards of the training split; webdataset reads"));
  CHECK(error_of("webdataset", root / "train-{0..1}.tar")
            .starts_with(root / "train-0.tar: cannot read: No such file"));
  CHECK(error_of("webdataset", root / "x-{0..1}.tar", Split::kTest)
            .find("expected \"train\" in the name") != std::string::npos);
  put_file(root / "train-0.tar", tar_of({{"a.jpg", kJpeg}}));
  CHECK(error_of("webdataset", root.path()) ==
        root /
            "train-0.tar:a: has an image but no label; expected a .cls or .json of the same name");
  put_file(root / "train-0.tar", tar_of({{"a.jpg", kJpeg}, {"a.cls", "cat"}}));
  CHECK(error_of("webdataset", root.path()) == root / "train-0.tar:a.cls: expected a class number");
  for (const std::string label : {"\"cat\"", "-1", "1.5", "4294967296"}) {  // 2^32 is 0 in an int
    CAPTURE(label);
    put_file(root / "train-0.tar",
             tar_of({{"a.jpg", kJpeg}, {"a.json", str("{\"label\": ", label, "}")}}));
    CHECK(error_of("webdataset", root.path()) ==
          root / "train-0.tar:a.json: expected \"label\": a class number");
  }
}

}  // namespace vtrain

#include "app/commands.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <sstream>

#include "app/export_int8.h"
#include "app/method_pages.h"
#include "app/network_input.h"
#include "app/new_method.h"
#include "app/viz.h"
#include "compress/deploy/int8_file.h"
#include "compress/deploy/onnx.h"
#include "compress/deploy/packed_file.h"
#include "compress/deploy/plan.h"
#include "data/dataset.h"
#include "nn/graph.h"
#include "nn/import.h"
#include "recipes/recipe.h"
#include "tensor/parallel.h"
#include "train/environment.h"
#include "train/evaluate.h"
#include "train/files.h"
#include "train/plugin.h"
#include "train/report.h"
#include "train/table.h"
#include "train/trainer.h"

namespace vtrain {
namespace {

constexpr const char* kVerbs[] = {"train", "eval",   "bench", "export", "check",
                                  "list",  "import", "viz",   "new",    "docs"};

/// "recipes/deit_dynamicvit.yaml" -> "deit_dynamicvit": the name of its run folder.
std::string stem(const std::string& path) { return std::filesystem::path(path).stem().string(); }

struct RecipeArguments {
  std::string file;
  std::vector<std::string> overrides;
  std::optional<int64_t> seed;
  std::string device, amp;

  void add_to(CLI::App& app) {
    app.add_option("recipe", file, "the recipe")->required();
    app.add_option("overrides", overrides, "a.b=value, +a.b=value, ~a.b");
    app.add_option("--seed", seed, "short for seed=N");
    app.add_option("--device", device, "short for device=NAME");
    app.add_option("--amp", amp, "short for amp=off");
  }
  Experiment read() const {
    std::vector<std::string> all = overrides;
    if (seed) all.push_back(str("seed=", *seed));
    if (!device.empty()) all.push_back("device=" + device);
    if (!amp.empty()) all.push_back("amp=" + amp);
    return read_experiment(Recipe::from_file(file, all), stem(file));
  }
};

ExitCode check(const Experiment& experiment, bool schema) {
  if (schema) {
    Table table({{"key", Align::kLeft},
                 {"type", Align::kLeft},
                 {"default", Align::kLeft},
                 {"range", Align::kLeft},
                 {"help", Align::kLeft}});
    for (const KeyInfo& key : experiment.recipe.declared())
      table.add_row({key.address, key.type, key.default_text, key.range, key.help});
    std::cout << table.text();
    return ExitCode::kDone;
  }
  std::cout << experiment.recipe.yaml(true) << '\n';
  for (const std::string& line : dry_run(experiment)) std::cout << line << '\n';
  return ExitCode::kDone;
}

/// The data that a network is asked about.
struct TestData {
  std::string name = "fashion_mnist", root;
  int threads = 0;

  void add_to(CLI::App& app) {
    app.add_option("--data", name, "the data set")->capture_default_str();
    app.add_option("--root", root, "its folder");
    app.add_option("--threads", threads, "threads; 0: all cores");
  }
};

/// A split in its order, as the network at `weights` wants its images; with a limit that many of
/// them, evenly spread, since data sets may be ordered by class. Throws RecipeError if
/// classes or channels differ.
std::unique_ptr<Loader> loader_of(const Network& network, const std::string& weights,
                                  const TestData& wanted, Split split, int64_t batch_size,
                                  std::optional<int64_t> limit = {}) {
  const auto data = open_dataset(wanted.name, {.root = wanted.root, .split = split});
  check_fits(network, weights, *data);
  const int64_t count = std::min(limit.value_or(data->size()), data->size());
  std::vector<int64_t> chosen;
  for (int64_t i = 0; i < count; ++i) chosen.push_back(i * data->size() / count);
  return std::make_unique<Loader>(data, chosen,
                                  LoaderOptions{.batch_size = batch_size,
                                                .workers = 1,
                                                .mean = network.preprocessing.mean,
                                                .std = network.preprocessing.std,
                                                .input = input_of(network, data->image_size())});
}

std::unique_ptr<Loader> test_loader(const Network& network, const std::string& weights,
                                    const TestData& wanted, int64_t batch_size,
                                    std::optional<int64_t> limit = {}) {
  return loader_of(network, weights, wanted, Split::kTest, batch_size, limit);
}

Accuracy accuracy_of_file(const std::string& weights, const TestData& data) {
  if (is_int8_file(weights)) {
    const Int8Network on_integers = load_int8(weights);
    Plan plan(*on_integers.network, on_integers.quantization);
    return evaluate([&](const Tensor& images, int64_t) { return plan.run(images); },
                    *test_loader(*on_integers.network, weights, data, 250));
  }
  const std::unique_ptr<Network> network = load_reals(weights);
  return evaluate(*network, *test_loader(*network, weights, data, 250));
}

ExitCode eval(const std::string& weights, const TestData& data) {
  if (data.threads > 0) set_num_threads(data.threads);
  const Accuracy a = accuracy_of_file(weights, data);
  std::cout << "* Acc@1 " << fixed(a.top1_percent, 3) << " Acc@5 " << fixed(a.top5_percent, 3)
            << " loss " << fixed(a.loss, 3) << '\n';
  return ExitCode::kDone;
}

struct BenchArguments {
  std::vector<std::string> weights;
  int threads = 0;
  bool shows_layers = false;
};

/// Time and kernel of every step of a deployed network, for one image.
void print_layers(const ModelOptions& o, Plan plan) {
  const Tensor image = Random(0, "", "bench")
                           .normal({1, o.channels, o.image_size, o.image_size}, {})
                           .channels_last();
  constexpr int kRuns = 20;
  std::vector<double> least = plan.step_seconds(image);
  for (int i = 0; i < kRuns; ++i) {
    const std::vector<double> again = plan.step_seconds(image);
    for (size_t s = 0; s < least.size(); ++s) least[s] = std::min(least[s], again[s]);
  }
  std::istringstream lines(plan.describe(1));
  std::string line;
  for (const double seconds : least) {
    if (!std::getline(lines, line)) break;
    std::cout << fmt::format("{:9.1f} us  ", seconds * 1e6) << line << '\n';
  }
}

/// Deployed networks beside one another, measured in turn.
ExitCode bench(const BenchArguments& arguments) {
  if (arguments.threads > 0) set_num_threads(arguments.threads);
  std::vector<Int8Network> networks;  // those in reals have an empty quantization
  std::vector<Runner> runners;
  for (const std::string& file : arguments.weights) {
    const bool is_on_integers = is_int8_file(file);
    networks.push_back(is_on_integers ? load_int8(file) : Int8Network{.network = load_reals(file)});
    const ModelOptions& o = networks.back().network->architecture().options;
    const Tensor images =
        Random(0, "", "bench").normal({8, o.channels, o.image_size, o.image_size}, {});
    runners.push_back(is_on_integers ? runner_of(networks.back(), images)
                                     : runner_of(*networks.back().network, images));
  }
  const std::vector<Speed> speeds = measure_speed(runners);
  Table table({{"network", Align::kLeft},
               {"MACs"},
               {"params"},
               {"file"},
               {"p50 ms b1"},
               {"p95 ms b1"},
               {"images/s b64"},
               {"memory b64"},
               {"runs as", Align::kLeft}});
  for (size_t i = 0; i < networks.size(); ++i) {
    const Graph graph(*networks[i].network);
    const std::string& file = arguments.weights[i];
    table.add_row(
        {file, human_count(static_cast<double>(graph.macs())), with_thousands(graph.params()),
         human_bytes(static_cast<double>(std::filesystem::file_size(file))),
         fixed(speeds[i].latency_ms_p50, 3), fixed(speeds[i].latency_ms_p95, 3),
         fixed(speeds[i].images_per_second, 0),
         human_bytes(static_cast<double>(speeds[i].peak_memory_bytes)), runners[i].executor});
  }
  std::cout << chip_name() << ", " << num_threads() << " threads\n" << table.text();
  for (size_t i = 0; i < networks.size(); ++i) {
    if (!runners[i].why_eager.empty())
      std::cout << arguments.weights[i] << ": not deployed: " << runners[i].why_eager << '\n';
    else if (arguments.shows_layers)
      print_layers(networks[i].network->architecture().options,
                   networks[i].quantization.layers.empty()
                       ? Plan(*networks[i].network)
                       : Plan(*networks[i].network, networks[i].quantization));
  }
  return ExitCode::kDone;
}

struct ExportArguments {
  std::string weights, out, format;
  bool is_int8 = false;
  Int8ExportArguments int8;
  TestData data;
  bool names_data = false;  // --data or --root was given: then noise will not do
};

constexpr int64_t kCompared = 100;  // images on which an exported file is run

/// Images to compare on, and what they are. The default data set need not fit the network: then
/// they are noise.
std::pair<Tensor, std::string> images_to_compare(const Network& network,
                                                 const ExportArguments& arguments) {
  try {
    const auto loader =
        test_loader(network, arguments.weights, arguments.data, kCompared, kCompared);
    loader->start(0);
    if (const std::optional<Batch> batch = loader->next())
      return {batch->images, "images of " + arguments.data.name};
  } catch (const Error& error) {
    const bool does_not_fit = error.code() == ExitCode::kUsage || error.code() == ExitCode::kData;
    if (arguments.names_data || !does_not_fit) throw;
  }
  const ModelOptions& model = network.architecture().options;
  const Random noise(0, "", "export.noise");
  return {noise.normal({kCompared, model.channels, model.image_size, model.image_size}, {}),
          "images of noise"};
}

ExitCode export_file(const ExportArguments& arguments) {
  const std::string& out = arguments.out;
  if (arguments.data.threads > 0) set_num_threads(arguments.data.threads);
  if (arguments.is_int8) {
    if (!arguments.format.empty() || out.ends_with(".onnx"))
      throw RecipeError(str(out, ": --int8: expected a name for a safetensors file; that file ",
                            "can then be exported as ONNX"));
    Int8ExportArguments int8 = arguments.int8;
    int8.weights = arguments.weights;
    int8.out = out;
    int8.loader = [&](const Network& network, Split split, int64_t batch_size,
                      std::optional<int64_t> limit) {
      return loader_of(network, arguments.weights, arguments.data, split, batch_size, limit);
    };
    return export_int8(int8);
  }
  if (arguments.format.empty() && !out.ends_with(".onnx")) {
    throw RecipeError(
        str(out, ": expected a name that ends in .onnx, --format onnx, or --int8: no other is ",
            "written yet"));
  }
  Int8Network read;
  const bool on_integers = is_int8_file(arguments.weights);
  if (on_integers) {
    read = load_int8(arguments.weights);
  } else {
    read.network = load_reals(arguments.weights);
  }
  Network& network = *read.network;
  const auto [images, what] = images_to_compare(network, arguments);
  const OnnxReport r = on_integers ? export_onnx(network, read.quantization, out, images)
                                   : export_onnx(network, out, images);
  std::cout << out << ": ONNX, opset 17, " << r.nodes << " nodes, " << with_thousands(r.parameters)
            << " parameters, " << human_bytes(static_cast<double>(r.bytes))
            << "; read back: structure, shapes and values are right\n";
  if (r.runtime.empty()) {
    std::cout << "not run: " << r.why_not << '\n';
  } else {
    std::cout << r.runtime << ", " << r.images << ' ' << what << ": outputs differ by at most "
              << fmt::format("{:.1e}", r.difference)
              << " of the largest, the class is the same for " << r.same_class << '\n';
  }
  return ExitCode::kDone;
}

ExitCode import_file(const std::string& file, const ImportOptions& options,
                     const std::string& out) {
  const std::unique_ptr<Network> network = import_weights(file, options);
  network->save(out);
  std::cout << out << ": " << options.model << ", " << with_thousands(network->parameter_count())
            << " parameters, " << network->architecture().options.num_classes << " classes\n";
  return ExitCode::kDone;
}

ExitCode list(const std::string& what) {
  Table table({{"name", Align::kLeft},
               {"what it is", Align::kLeft},
               {"paper", Align::kLeft},
               {"source", Align::kLeft}});
  if (what == "models") {
    for (const ModelInfo& m : registered_models())
      table.add_row({m.name, m.description, m.paper, m.file});
  } else if (what == "methods") {
    for (const MethodInfo& m : registered_methods())
      table.add_row({m.name, m.description, m.paper, m.file});
  } else if (what == "data") {
    for (const DatasetEntry& d : registered_datasets())
      table.add_row({d.name, d.description, "", d.source_file});
  } else if (what == "optim") {
    for (const OptimizerInfo& o : registered_optimizers())
      table.add_row({o.name, o.description, "", o.file});
  } else {
    for (const ScheduleInfo& s : registered_schedules())
      table.add_row({s.name, s.description, "", s.file});
  }
  std::cout << table.text();
  return ExitCode::kDone;
}

/// The verb may be left out: `vtrain recipes/x.yaml` trains.
std::vector<std::string> with_verb(std::vector<std::string> arguments) {
  if (arguments.empty() || arguments[0].starts_with("-")) return arguments;
  const std::string& first = arguments[0];
  if (std::find(std::begin(kVerbs), std::end(kVerbs), first) != std::end(kVerbs)) return arguments;
  if (!first.ends_with(".yaml") && !first.ends_with(".yml")) {
    const std::string close = nearest(first, {std::begin(kVerbs), std::end(kVerbs)});
    std::string verbs;
    for (const char* const verb : kVerbs) verbs += str(verbs.empty() ? "" : ", ", verb);
    throw RecipeError(str(first, ": expected a recipe (.yaml) or a verb (", verbs, ')',
                          close.empty() ? "" : "; did you mean " + close + "?"));
  }
  arguments.insert(arguments.begin(), "train");
  return arguments;
}

/// Writes docs/methods/, and removes pages of methods that are no more.
ExitCode write_method_pages(const std::string& root, const std::string& out) {
  const std::filesystem::path folder =
      out.empty() ? std::filesystem::path(root) / "docs" / "methods" : std::filesystem::path(out);
  const std::map<std::string, std::string> pages = method_pages(root);
  std::filesystem::create_directories(folder);
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".md") && !pages.contains(name)) std::filesystem::remove(entry.path());
  }
  for (const auto& [name, text] : pages) write_file_atomically((folder / name).string(), text);
  std::cout << "wrote " << pages.size() << " pages to " << folder.string() << '\n';
  return ExitCode::kDone;
}

ExitCode new_method(const NewMethod& wanted) {
  const std::vector<std::string> files = write_new_method(wanted);
  for (const std::string& file : files) std::cout << "wrote " << file << '\n';
  const bool is_tree = files.front().starts_with("compress/");
  std::cout << (is_tree
                    ? str("next: ./dev test -R ", wanted.family, '/', wanted.name,
                          "; docs/write_a_method.md\n")
                    : str("next: cmake -B build -DCMAKE_PREFIX_PATH=<where vtrain is installed> "
                          "&& cmake --build build && vtrain --plugin build/libmethods.so ",
                          wanted.name, ".yaml\n"));
  return ExitCode::kDone;
}

/// Takes "--resume" and "--resume=FOLDER" out: an option whose value may be missing would swallow
/// the recipe behind it.
std::optional<std::string> take_resume(std::vector<std::string>& arguments) {
  std::optional<std::string> resume;
  std::erase_if(arguments, [&](const std::string& argument) {
    if (argument != "--resume" && !argument.starts_with("--resume=")) return false;
    resume = argument == "--resume" ? "" : argument.substr(9);
    return true;
  });
  return resume;
}

/// Takes "--plugin FILE" and "--plugin=FILE" out, which may stand anywhere, and loads the files:
/// what they register must be known before anything is read.
void load_plugins(std::vector<std::string>& arguments) {
  std::vector<std::string> rest;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument.starts_with("--plugin=")) {
      load_plugin(argument.substr(9));
    } else if (argument == "--plugin") {
      if (i + 1 == arguments.size()) throw RecipeError("--plugin: expected a file behind it");
      load_plugin(arguments[++i]);
    } else {
      rest.push_back(argument);
    }
  }
  arguments = std::move(rest);
}

}  // namespace

int run_command(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file that grows too long is an error with a name
  CLI::App app(
      "Trains vision networks and makes them smaller while they train.\n\nExample: vtrain "
      "recipes/deit_dynamicvit.yaml");
  app.require_subcommand(1);
  std::string plugin;  // taken from the arguments before they are parsed
  app.add_option("--plugin", plugin, "a shared library that registers methods, models or data");
  ExitCode code = ExitCode::kDone;

  CLI::App* const train_app =
      app.add_subcommand("train",
                         "run a recipe to its end: phases, compression, report\nExample: vtrain "
                         "train recipes/deit_dynamicvit.yaml optim.lr=5e-4 --resume");
  RecipeArguments train_arguments;
  TrainOptions options;
  train_arguments.add_to(*train_app);
  bool wants_resume = false;  // taken from the arguments before they are parsed
  train_app->add_flag("--resume", wants_resume,
                      "go on with the newest run of this recipe; --resume=FOLDER: with that one");
  train_app->add_flag("--quiet", options.quiet, "print the final table only");
  train_app->add_flag("--json", options.json, "print result.json as the last line");
  train_app->add_flag("--strict", options.strict, "a missed expectation is exit 6");
  train_app->callback([&] {
    for (int i = 0; i < argc; ++i) options.command_line += str(i ? " " : "", argv[i]);
    options.command_line += '\n';
    code = train(train_arguments.read(), options, std::cout);
  });

  CLI::App* const eval_app =
      app.add_subcommand("eval",
                         "accuracy of a weights file on the test split\nExample: vtrain eval "
                         "runs/last/sparse.safetensors");
  std::string weights;
  TestData test_data;
  eval_app->add_option("weights", weights, "a weights file")->required();
  test_data.add_to(*eval_app);
  eval_app->callback([&] { code = eval(weights, test_data); });

  CLI::App* const bench_app = app.add_subcommand(
      "bench",
      "deploy weights files, check them against the trained networks, and time them in turn\n"
      "Example: vtrain bench runs/last/dense.safetensors runs/last/sparse.safetensors");
  BenchArguments benched;
  bench_app->add_option("weights", benched.weights, "weights files")->required();
  bench_app->add_option("--threads", benched.threads, "threads; 0: all cores");
  bench_app->add_flag("--layers", benched.shows_layers, "the time of every step for one image");
  bench_app->callback([&] { code = bench(benched); });

  CLI::App* const export_app =
      app.add_subcommand("export",
                         "write a network for other runtimes or on integers, read it back, "
                         "run it and compare\nExample: vtrain export "
                         "runs/last/sparse.safetensors sparse.onnx");
  ExportArguments exported;
  export_app->add_option("weights", exported.weights, "a weights file")->required();
  export_app->add_option("out,--out", exported.out, "the file to write, .onnx")->required();
  export_app->add_option("--format", exported.format, "what to write; else as the name ends")
      ->check(CLI::IsMember({"onnx"}));
  export_app->add_flag("--int8", exported.is_int8,
                       "write codes of eight bits, with scales from images of the train split");
  export_app->add_option("--range", exported.int8.range, "of --int8: minmax, percentile or mse")
      ->capture_default_str();
  export_app->add_option("--images", exported.int8.images, "of --int8: how many are watched")
      ->capture_default_str();
  export_app->add_option("--skip", exported.int8.skip, "of --int8: globs of layers to stay real")
      ->delimiter(',');
  exported.data.add_to(*export_app);
  export_app->callback([&] {
    exported.names_data = export_app->count("--data") + export_app->count("--root") > 0;
    code = export_file(exported);
  });

  CLI::App* const import_app = app.add_subcommand(
      "import",
      "bring weights of torchvision, timm, DeiT or a CIFAR zoo\nExample: vtrain import "
      "resnet20-12fca82f.th --model resnet20 --out resnet20.safetensors");
  std::string imported, written;
  ImportOptions import_options;
  import_app->add_option("file", imported, ".safetensors, .pth or .th; nothing in it is executed")
      ->required();
  import_app->add_option("--model", import_options.model, "a registered network")->required();
  import_app->add_option("--out", written, "the weights file to write")->required();
  import_app->add_option("--image-size", import_options.image_size,
                         "height and width of its images; 0: the model's usual");
  import_app->add_option("--mean", import_options.mean, "of its inputs, per channel: R,G,B")
      ->delimiter(',');
  import_app->add_option("--std", import_options.std, "of its inputs, per channel: R,G,B")
      ->delimiter(',');
  import_app->callback([&] { code = import_file(imported, import_options, written); });

  CLI::App* const viz_app = app.add_subcommand(
      "viz",
      "draw which patches of images a vision transformer keeps, drops and merges\nExample: vtrain "
      "viz runs/last/sparse.safetensors cat.jpg data:12");
  viz_app->footer(
      "Writes a row of panels for each image, tokens_NAME.png: the image as the network gets it; "
      "what is left of it behind each block that drops patches; the patches of every token at the "
      "end in their mean colour, in a frame of their own, dropped ones black; the block in which "
      "each patch left, from dark blue over green to yellow for those that stay.\n"
      "And tokens.csv with the same of every patch: image,patch_row,patch_col,block_left,group. "
      "block_left is -1 for those that stay; group is the lowest patch of the same token at the "
      "end, -1 for dropped ones.\n"
      "Attention maps and widths of channels are not drawn.");
  VizArguments drawn;
  TestData drawn_data;
  viz_app->add_option("weights", drawn.weights, "a weights file")->required();
  viz_app
      ->add_option("images", drawn.images,
                   "files of images; data:N is image N of the test split, from 0")
      ->required();
  viz_app->add_option("--out", drawn.out, "the folder to write")->capture_default_str();
  drawn_data.add_to(*viz_app);
  viz_app->callback([&] {
    if (drawn_data.threads > 0) set_num_threads(drawn_data.threads);
    drawn.data = drawn_data.name;
    drawn.root = drawn_data.root;
    code = viz(drawn);
  });

  CLI::App* const check_app =
      app.add_subcommand("check",
                         "print the merged recipe, the model table and the hook order; train "
                         "nothing\nExample: vtrain check recipes/deit_dynamicvit.yaml");
  RecipeArguments check_arguments;
  bool schema = false;
  check_arguments.add_to(*check_app);
  check_app->add_flag("--schema", schema, "print every key with type, default, range and help");
  check_app->callback([&] { code = check(check_arguments.read(), schema); });

  CLI::App* const list_app = app.add_subcommand(
      "list",
      "what is registered: models, methods, data, optim, sched\nExample: vtrain list methods");
  std::string what;
  list_app->add_option("what", what)
      ->required()
      ->check(CLI::IsMember({"models", "methods", "data", "optim", "sched"}));
  list_app->callback([&] { code = list(what); });

  CLI::App* const new_app = app.add_subcommand(
      "new",
      "write the files of a new compression method from the worked example, in vtrain's tree or in "
      "a folder of your own\nExample: vtrain new method sparse_vd --family prune");
  std::string kind;
  NewMethod wanted;
  new_app->add_option("kind", kind, "method")->required()->check(CLI::IsMember({"method"}));
  new_app->add_option("name", wanted.name, "in lower case: sparse_vd")->required();
  new_app->add_option("--family", wanted.family, "prune, quant, distill, vit or tokens")
      ->capture_default_str();
  new_app->add_option("--folder", wanted.folder, "where to write")->capture_default_str();
  new_app->callback([&] { code = new_method(wanted); });

  CLI::App* const docs_app = app.add_subcommand(
      "docs", "write docs/methods/: a page for every method, from its source and its knobs");
  std::string root = ".", pages;
  docs_app->add_option("--root", root, "vtrain's tree")->capture_default_str();
  docs_app->add_option("--out", pages, "the folder to write; else docs/methods of the tree");
  docs_app->callback([&] { code = write_method_pages(root, pages); });

  try {
    std::vector<std::string> arguments(argv + 1, argv + argc);
    load_plugins(arguments);
    arguments = with_verb(arguments);
    options.resume = take_resume(arguments);
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
    app.parse(arguments);
    return static_cast<int>(code);
  } catch (const CLI::Success& success) {  // --help
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    std::cerr << "vtrain: " << error.what() << "; see vtrain --help\n";
    return static_cast<int>(ExitCode::kUsage);
  } catch (const Error& error) {
    std::cerr << "vtrain: " << error.what() << '\n';
    return static_cast<int>(error.code());
  } catch (const std::bad_alloc&) {
    std::cerr << "vtrain: out of memory; try a smaller data.batch_size\n";
    return static_cast<int>(ExitCode::kEnvironment);
  } catch (const std::exception& error) {
    std::cerr << "vtrain: internal error: " << error.what() << '\n';
    return static_cast<int>(ExitCode::kInternal);
  }
}

}  // namespace vtrain

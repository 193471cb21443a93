#include "tensor/torch_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string_view>

#include "tensor/error.h"
#include "tensor/str.h"
#include "tensor/zip.h"

namespace vtrain {

const TorchValue* TorchValue::find(const std::string& key) const {
  for (const auto& [name, value] : items) {
    if (name == key) return &value;
  }
  return nullptr;
}

namespace {

static_assert(std::endian::native == std::endian::little, "elements are copied as they lie there");

/// An untyped run of elements that tensors are views of. In the older format the bytes follow all
/// pickles, so they may come late.
struct Storage {
  DType dtype = DType::f32;
  int64_t numel = 0;
  std::string bytes;
};

/// A view that is turned into a tensor once its storage has bytes.
struct View {
  std::shared_ptr<Storage> storage;
  int64_t offset = 0;
  std::vector<int64_t> shape, strides;
};

/// What the machine's stack holds. Containers are shared, since a pickle may fill one after it has
/// stored it elsewhere.
struct Item {
  enum class Kind {
    kMark,
    kNone,
    kBoolean,
    kInteger,
    kReal,
    kText,
    kGlobal,
    kStorage,
    kView,
    kDict,
    kList,
    kTuple
  };
  Kind kind = Kind::kNone;
  int64_t integer = 0;
  double real = 0;
  std::string text = {};  // also module and name of a global, "torch._utils _rebuild_tensor_v2"
  std::shared_ptr<Storage> storage = {};
  std::shared_ptr<View> view = {};
  std::shared_ptr<std::vector<std::pair<Item, Item>>> pairs = {};  // of a dict
  std::shared_ptr<std::vector<Item>> list = {};                    // of a list or tuple
};
using Kind = Item::Kind;

struct StorageType {
  std::string_view global;
  DType dtype;
};
constexpr StorageType kStorageTypes[] = {
    {"torch FloatStorage", DType::f32},    {"torch DoubleStorage", DType::f64},
    {"torch HalfStorage", DType::f16},     {"torch BFloat16Storage", DType::bf16},
    {"torch CharStorage", DType::i8},      {"torch ByteStorage", DType::u8},
    {"torch IntStorage", DType::i32},      {"torch LongStorage", DType::i64},
    {"torch BoolStorage", DType::boolean},
};

std::optional<DType> storage_dtype(std::string_view global) {
  for (const StorageType& type : kStorageTypes) {
    if (type.global == global) return type.dtype;
  }
  return std::nullopt;
}

/// IEEE half to float: exponent rebased by multiplying with 2^112, which also renormalises.
float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16,
                 rest = static_cast<uint32_t>(half & 0x7fff) << 13;
  const bool is_special = (half & 0x7c00) == 0x7c00;
  const float magnitude =
      is_special ? std::bit_cast<float>(rest | 0x7f800000) : std::bit_cast<float>(rest) * 0x1p112F;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
}

/// The stack machine of Python's pickle (Lib/pickletools.py describes its opcodes), less everything
/// that calls.
class Unpickler {
 public:
  /// Called for a persistent id: ('storage', type, key, location, count, ...).
  using FindStorage =
      std::function<std::shared_ptr<Storage>(DType dtype, const std::string& key, int64_t numel)>;

  Unpickler(std::string_view bytes, std::string path, FindStorage find_storage)
      : bytes_(bytes), path_(std::move(path)), find_storage_(std::move(find_storage)) {}

  Item run();
  size_t position() const { return at_; }  // behind the STOP of what was read

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw CheckpointError(path_ + ": " + what);
  }
  [[noreturn]] void damaged() const {
    fail(str("the pickle is damaged near byte ", at_, "; was the file cut off?"));
  }

  std::string_view take(size_t count) {
    if (count > bytes_.size() - at_) damaged();
    const std::string_view part = bytes_.substr(at_, count);
    at_ += count;
    return part;
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string line() {
    const size_t end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) damaged();
    std::string text(take(end - at_));
    ++at_;
    return text;
  }

  void push(Item item) {
    if (item.kind == Kind::kMark) ++marks_;
    stack_.push_back(std::move(item));
  }
  void push_integer(int64_t value) { push({.kind = Kind::kInteger, .integer = value}); }
  void push_text(std::string_view text) { push({.kind = Kind::kText, .text = std::string(text)}); }
  Item pop() {
    if (stack_.empty() || stack_.back().kind == Kind::kMark) damaged();
    Item item = std::move(stack_.back());
    stack_.pop_back();
    return item;
  }
  Item& top() {
    if (stack_.empty() || stack_.back().kind == Kind::kMark) damaged();
    return stack_.back();
  }
  /// Everything above the last mark, which goes too.
  std::vector<Item> pop_marked() {
    if (marks_ == 0) damaged();
    size_t mark = stack_.size();
    while (stack_[--mark].kind != Kind::kMark) {
    }
    std::vector<Item> items(
        std::make_move_iterator(stack_.begin() + static_cast<int64_t>(mark) + 1),
        std::make_move_iterator(stack_.end()));
    stack_.resize(mark);
    --marks_;
    return items;
  }
  void push_tuple(std::vector<Item> items) {
    push({.kind = Kind::kTuple, .list = std::make_shared<std::vector<Item>>(std::move(items))});
  }
  void push_top_as_tuple(size_t count) {
    std::vector<Item> items(count);
    for (size_t i = count; i-- > 0;) items[i] = pop();
    push_tuple(std::move(items));
  }
  void push_dict() {
    push({.kind = Kind::kDict, .pairs = std::make_shared<std::vector<std::pair<Item, Item>>>()});
  }
  void set_items(const std::vector<Item>& items) {
    if (items.size() % 2 != 0 || top().kind != Kind::kDict) damaged();
    for (size_t i = 0; i < items.size(); i += 2) top().pairs->emplace_back(items[i], items[i + 1]);
  }
  void append(const std::vector<Item>& items) {
    if (top().kind != Kind::kList) damaged();
    top().list->insert(top().list->end(), items.begin(), items.end());
  }
  void remember(uint64_t slot) { memo_[slot] = top(); }
  void recall(uint64_t slot) {
    const auto found = memo_.find(slot);
    if (found == memo_.end()) damaged();
    push(found->second);
  }

  int64_t long_integer(size_t count);
  std::vector<int64_t> integers(const Item& item) const;
  Item global(const std::string& module, const std::string& name) const;
  Item call(const Item& function, const Item& arguments);
  Item rebuild_tensor(const std::vector<Item>& arguments) const;
  Item load_storage(const Item& id);

  std::string_view bytes_;
  std::string path_;
  FindStorage find_storage_;
  size_t at_ = 0;
  std::vector<Item> stack_;
  int marks_ = 0;
  std::map<uint64_t, Item> memo_;
};

Item Unpickler::run() {
  for (;;) {
    const auto opcode = number<uint8_t>();
    switch (opcode) {
      case 0x80:  // PROTO
        if (number<uint8_t>() > 5) fail("the pickle is of a protocol newer than 5");
        break;
      case 0x95:  // FRAME
        take(8);
        break;
      case '.':  // STOP
        return pop();
      case '(':
        push({.kind = Kind::kMark});
        break;
      case '0':  // POP
        pop();
        break;
      case 'N':
        push({});
        break;
      case 0x88:
        push({.kind = Kind::kBoolean, .integer = 1});
        break;
      case 0x89:
        push({.kind = Kind::kBoolean, .integer = 0});
        break;
      case 'J':
        push_integer(number<int32_t>());
        break;
      case 'K':
        push_integer(number<uint8_t>());
        break;
      case 'M':
        push_integer(number<uint16_t>());
        break;
      case 0x8a:  // LONG1
        push_integer(long_integer(number<uint8_t>()));
        break;
      case 'G': {  // BINFLOAT, big-endian
        const uint64_t word = __builtin_bswap64(number<uint64_t>());
        push({.kind = Kind::kReal, .real = std::bit_cast<double>(word)});
        break;
      }
      case 'X':  // BINUNICODE
      case 'T':  // BINSTRING
      case 'B':  // BINBYTES
        push_text(take(number<uint32_t>()));
        break;
      case 'U':   // SHORT_BINSTRING
      case 'C':   // SHORT_BINBYTES
      case 0x8c:  // SHORT_BINUNICODE
        push_text(take(number<uint8_t>()));
        break;
      case 'q':  // BINPUT
        remember(number<uint8_t>());
        break;
      case 'r':  // LONG_BINPUT
        remember(number<uint32_t>());
        break;
      case 0x94:  // MEMOIZE
        remember(memo_.size());
        break;
      case 'h':  // BINGET
        recall(number<uint8_t>());
        break;
      case 'j':  // LONG_BINGET
        recall(number<uint32_t>());
        break;
      case ')':
        push_tuple({});
        break;
      case 't':
        push_tuple(pop_marked());
        break;
      case 0x85:
        push_top_as_tuple(1);
        break;
      case 0x86:
        push_top_as_tuple(2);
        break;
      case 0x87:
        push_top_as_tuple(3);
        break;
      case ']':
        push({.kind = Kind::kList, .list = std::make_shared<std::vector<Item>>()});
        break;
      case 'a': {
        const Item item = pop();
        append({item});
        break;
      }
      case 'e':
        append(pop_marked());
        break;
      case '}':
        push_dict();
        break;
      case 's': {
        const Item value = pop(), key = pop();
        set_items({key, value});
        break;
      }
      case 'u':
        set_items(pop_marked());
        break;
      case 'c': {  // GLOBAL
        const std::string module = line(), name = line();
        push(global(module, name));
        break;
      }
      case 0x93: {  // STACK_GLOBAL
        const Item name = pop(), module = pop();
        push(global(module.text, name.text));
        break;
      }
      case 'R':     // REDUCE
      case 0x81: {  // NEWOBJ
        const Item arguments = pop(), function = pop();
        push(call(function, arguments));
        break;
      }
      case 'b':  // BUILD: attributes of an OrderedDict, such as a state dict's version notes
        pop();
        if (top().kind != Kind::kDict) fail("the pickle sets attributes of something not a dict");
        break;
      case 'Q':
        push(load_storage(pop()));
        break;
      default:
        fail(str("the pickle has an opcode ", static_cast<int>(opcode), " at byte ", at_ - 1,
                 ", which this reader does not execute"));
    }
  }
}

/// Little-endian two's complement. Only the magic number of the older format is wider than 64 bits;
/// its low part is enough to know it.
int64_t Unpickler::long_integer(size_t count) {
  const std::string_view part = take(count);
  uint64_t value = count > 0 && (part.back() & 0x80) != 0 ? ~uint64_t{0} : 0;
  std::memcpy(&value, part.data(), std::min<size_t>(count, sizeof value));
  return static_cast<int64_t>(value);
}

std::vector<int64_t> Unpickler::integers(const Item& item) const {
  if (item.kind != Kind::kTuple) damaged();
  std::vector<int64_t> values;
  for (const Item& each : *item.list) {
    if (each.kind != Kind::kInteger || each.integer < 0) damaged();
    values.push_back(each.integer);
  }
  return values;
}

Item Unpickler::global(const std::string& module, const std::string& name) const {
  constexpr std::string_view kKnown[] = {
      "collections OrderedDict", "torch Size", "torch._utils _rebuild_tensor",
      "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"};
  const std::string full = str(module, ' ', name);
  bool is_known = storage_dtype(full).has_value();
  for (const std::string_view known : kKnown) is_known |= known == full;
  if (!is_known) {
    fail(str("the pickle asks for ", module, '.', name,
             "; expected tensors, dicts, lists and numbers only. Nothing was executed. Save the "
             "weights alone (torch.save(model.state_dict(), ...)) or as .safetensors"));
  }
  return {.kind = Kind::kGlobal, .text = full};
}

Item Unpickler::call(const Item& function, const Item& arguments) {
  if (function.kind != Kind::kGlobal || arguments.kind != Kind::kTuple) damaged();
  const std::vector<Item>& given = *arguments.list;
  if (function.text == "collections OrderedDict") {
    Item dict{.kind = Kind::kDict, .pairs = std::make_shared<std::vector<std::pair<Item, Item>>>()};
    // Older Pythons pass a list of pairs.
    if (given.size() == 1 && given[0].kind == Kind::kList) {
      for (const Item& pair : *given[0].list) {
        if ((pair.kind != Kind::kTuple && pair.kind != Kind::kList) || pair.list->size() != 2)
          damaged();
        dict.pairs->emplace_back((*pair.list)[0], (*pair.list)[1]);
      }
    }
    return dict;
  }
  if (function.text == "torch Size" && given.size() == 1) return given[0];
  if (function.text == "torch._utils _rebuild_parameter" && !given.empty()) return given[0];
  if (function.text.starts_with("torch._utils _rebuild_tensor")) return rebuild_tensor(given);
  damaged();
}

/// (storage, offset, shape, strides, ...)
Item Unpickler::rebuild_tensor(const std::vector<Item>& arguments) const {
  if (arguments.size() < 4 || arguments[0].kind != Kind::kStorage ||
      arguments[1].kind != Kind::kInteger)
    damaged();
  const auto view = std::make_shared<View>(View{arguments[0].storage, arguments[1].integer,
                                                integers(arguments[2]), integers(arguments[3])});
  if (view->shape.size() != view->strides.size() || view->offset < 0) damaged();
  // The last element read must lie in the storage; each factor is bounded first, so that the sums
  // cannot overflow.
  const int64_t limit = view->storage->numel;
  int64_t last = view->offset;
  const bool is_empty = std::ranges::count(view->shape, 0) > 0;
  int64_t elements = 1;  // more than the storage has where strides are 0: a view that repeats
  constexpr int64_t kMaxElements = int64_t{1} << 36;
  for (size_t i = 0; i < view->shape.size() && !is_empty; ++i) {
    if (view->shape[i] > kMaxElements / elements) damaged();
    elements *= view->shape[i];
    if (view->shape[i] == 1) continue;
    if (view->strides[i] > limit / (view->shape[i] - 1)) damaged();
    last += view->strides[i] * (view->shape[i] - 1);
    if (last >= limit) damaged();
  }
  if (!is_empty && last >= limit) damaged();
  return {.kind = Kind::kView, .view = view};
}

Item Unpickler::load_storage(const Item& id) {
  if (id.kind != Kind::kTuple || id.list->size() < 5) damaged();
  const std::vector<Item>& parts = *id.list;
  if (parts[0].text != "storage" || parts[1].kind != Kind::kGlobal) damaged();
  const std::optional<DType> dtype = storage_dtype(parts[1].text);
  if (!dtype || parts[4].kind != Kind::kInteger || parts[4].integer < 0) damaged();
  // In the older format a sixth entry would make this storage a part of another; PyTorch stopped
  // writing that in 2017.
  if (parts.size() > 5 && parts[5].kind != Kind::kNone)
    fail("the pickle has storages that share memory; expected one storage each");
  return {.kind = Kind::kStorage,
          .storage = find_storage_(*dtype, parts[2].text, parts[4].integer)};
}

Tensor tensor_of(const View& view, const std::string& path) {
  const Storage& storage = *view.storage;
  const size_t size = size_of(storage.dtype);
  if (storage.bytes.size() / size < static_cast<size_t>(storage.numel))
    throw CheckpointError(path + ": a tensor's elements are missing; was the file cut off?");
  const bool is_half = storage.dtype == DType::f16;
  Tensor tensor = Tensor::empty(view.shape, is_half ? DType::f32 : storage.dtype);
  std::byte* const to = tensor.raw();
  const char* const from = storage.bytes.data();
  const int64_t count = tensor.numel();
  for (int64_t i = 0; i < count; ++i) {
    int64_t at = view.offset, rest = i;
    for (size_t axis = view.shape.size(); axis-- > 0;) {
      at += rest % view.shape[axis] * view.strides[axis];
      rest /= view.shape[axis];
    }
    const char* const element = from + static_cast<size_t>(at) * size;
    if (is_half) {
      uint16_t half;
      std::memcpy(&half, element, sizeof half);
      const float wide = half_to_float(half);
      std::memcpy(to + static_cast<size_t>(i) * sizeof wide, &wide, sizeof wide);
    } else {
      std::memcpy(to + static_cast<size_t>(i) * size, element, size);
    }
  }
  return tensor;
}

constexpr int kMaxDepth = 64;  // a container that holds itself would never end

TorchValue value_of(const Item& item, const std::string& path, int depth = 0) {
  using Value = TorchValue::Kind;
  if (depth > kMaxDepth)
    throw CheckpointError(str(path, ": dicts and lists are nested more than ", kMaxDepth, " deep"));
  TorchValue value;
  switch (item.kind) {
    case Kind::kNone:
    case Kind::kMark:
      break;
    case Kind::kBoolean:
    case Kind::kInteger:
      value.kind = item.kind == Kind::kBoolean ? Value::kBoolean : Value::kInteger;
      value.integer = item.integer;
      break;
    case Kind::kReal:
      value.kind = Value::kReal;
      value.real = item.real;
      break;
    case Kind::kText:
    case Kind::kGlobal:  // a class or dtype kept as a value: its name is all there is to it
      value.kind = Value::kText;
      value.text = item.text;
      break;
    case Kind::kStorage:
      break;
    case Kind::kView:
      value.kind = Value::kTensor;
      value.tensor = tensor_of(*item.view, path);
      break;
    case Kind::kDict:
      value.kind = Value::kDict;
      for (const auto& [key, each] : *item.pairs) {
        const std::string name =
            key.kind == Kind::kInteger ? std::to_string(key.integer) : key.text;
        value.items.push_back({name, value_of(each, path, depth + 1)});
      }
      break;
    case Kind::kList:
    case Kind::kTuple:
      value.kind = Value::kList;
      for (const Item& each : *item.list)
        value.items.push_back({{}, value_of(each, path, depth + 1)});
      break;
  }
  return value;
}

std::string read_whole(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw CheckpointError(path + ": cannot be opened");
  std::string bytes(static_cast<size_t>(file.tellg()), '\0');
  file.seekg(0);
  if (!file.read(bytes.data(), static_cast<std::streamsize>(bytes.size())))
    throw CheckpointError(path + ": cannot be read");
  return bytes;
}

/// archive/data.pkl, and archive/data/<key> per storage.
TorchValue read_zip(std::string_view bytes, const std::string& path) {
  const ZipArchive zip(bytes, path);
  std::string folder;
  for (const std::string& name : zip.names()) {
    if (name.ends_with("/data.pkl")) folder = name.substr(0, name.size() - 8);
  }
  if (folder.empty())
    throw CheckpointError(path + ": a zip archive without data.pkl; expected one of torch.save");
  if (zip.contains(folder + "byteorder") && zip.read(folder + "byteorder") != "little")
    throw CheckpointError(path + ": was written on a big-endian machine; expected little-endian");
  std::map<std::string, std::shared_ptr<Storage>> storages;
  const std::string pickle = zip.read(folder + "data.pkl");
  Unpickler unpickler(pickle, path, [&](DType dtype, const std::string& key, int64_t numel) {
    std::shared_ptr<Storage>& storage = storages[key];
    if (!storage) {
      storage = std::make_shared<Storage>(Storage{dtype, numel, zip.read(folder + "data/" + key)});
    }
    return storage;
  });
  return value_of(unpickler.run(), path);
}

/// Pickles of a magic number, a protocol, facts of the machine, the value and the storages' keys;
/// then per key an i64 count and the elements.
TorchValue read_consecutive(std::string_view bytes, const std::string& path) {
  constexpr uint64_t kMagic = 0xa86a20f9469cfc6c;  // the low 64 bits of 0x1950a86a20f9469cfc6c
  std::map<std::string, std::shared_ptr<Storage>> storages;
  const auto find = [&](DType dtype, const std::string& key, int64_t numel) {
    std::shared_ptr<Storage>& storage = storages[key];
    if (!storage) storage = std::make_shared<Storage>(Storage{dtype, numel, {}});
    return storage;
  };
  size_t at = 0;
  const auto next = [&] {
    Unpickler unpickler(bytes.substr(at), path, find);
    Item item = unpickler.run();
    at += unpickler.position();
    return item;
  };
  const Item magic = next();
  if (magic.kind != Kind::kInteger || static_cast<uint64_t>(magic.integer) != kMagic)
    throw CheckpointError(path + ": a pickle, but not one of torch.save");
  next();  // protocol
  next();  // sys_info
  const Item value = next(), keys = next();
  if (keys.kind != Kind::kList) throw CheckpointError(path + ": its list of storages is damaged");
  for (const Item& key : *keys.list) {
    const auto found = storages.find(key.text);
    int64_t count = 0;
    if (found == storages.end() || bytes.size() - at < sizeof count)
      throw CheckpointError(path + ": its storages are damaged; was the file cut off?");
    std::memcpy(&count, bytes.data() + at, sizeof count);
    at += sizeof count;
    Storage& storage = *found->second;
    const size_t size = size_of(storage.dtype);
    if (count != storage.numel || static_cast<size_t>(count) > (bytes.size() - at) / size)
      throw CheckpointError(path + ": its storages are damaged; was the file cut off?");
    storage.bytes = bytes.substr(at, static_cast<size_t>(count) * size);
    at += static_cast<size_t>(count) * size;
  }
  return value_of(value, path);
}

}  // namespace

TorchValue read_torch_file(const std::string& path) {
  const std::string bytes = read_whole(path);
  if (ZipArchive::looks_like(bytes)) return read_zip(bytes, path);
  if (bytes.size() < 2 || static_cast<uint8_t>(bytes[0]) != 0x80) {
    throw CheckpointError(path +
                          ": expected a file of torch.save (.pth, .th), zip or older; got neither");
  }
  return read_consecutive(bytes, path);
}

}  // namespace vtrain

// Who holds the object store: the biggest values and arguments, for the table of a store that is full.
#include <algorithm>
#include <string>
#include <vector>

#include "codec.h"
#include "python.h"

namespace shoal {

struct Big {
  u64 bytes;
  u32 record;
  bool arguments;  // not its value
};

static std::vector<Big> biggest(size_t limit) {
  std::vector<Big> found;
  u32 end = arena->records_end();
  for (u32 i = arena->next_record(0); i < end; i = arena->next_record(i)) {
    Record& r = arena->record(i);
    if ((r.state.load() & kStateMask) == kFree) continue;
    if (r.where != kInline) found.push_back({r.value_size, i, false});
    if ((r.flags & kArgsHeld) && r.args_offset && r.args_size.load()) found.push_back({r.args_size.load(), i, true});
  }
  std::sort(found.begin(), found.end(), [](const Big& a, const Big& b) { return a.bytes > b.bytes; });
  if (found.size() > limit) found.resize(limit);
  return found;
}

static PyObject* pids_of(u32 i) {
  Own pids(PyList_New(0));
  for (u32 k = 1; pids && k < arena->head->slots_used; k++) {
    Slot& s = arena->slot(k);
    bool holds = false;
    for (u32 c = s.role != kRoleNone ? u32(s.ledger_first) : 0; c && !holds; c = arena->chunk(c).next)
      for (auto& e : arena->chunk(c).entries) holds = holds || (e.kind.load() != kEntryFree && e.record.load() == i);
    if (!holds) continue;
    Own pid(PyLong_FromUnsignedLong(s.pid));
    if (!pid || PyList_Append(pids.get(), pid.get()) != 0) return nullptr;
  }
  return pids.release();
}

// The arguments may be given back while they are looked at: what is read is checked, and at worst a name is wrong.
static bool is_argument(u32 i, const Record& call) {
  u64 offset = call.args_offset, size = call.args_size.load();
  if (!(call.flags & kArgsHeld) || size < sizeof(ArgsHead) || offset > arena->head->total_bytes - size) return false;
  if (!offset && size > kArgsInline) return false;
  const u8* bytes = offset ? arena->heap(offset) : call.args_inline;
  u64 n = reinterpret_cast<const ArgsHead*>(bytes)->dependencies;
  const u32* records = reinterpret_cast<const u32*>(bytes + sizeof(ArgsHead));
  return n <= (size - sizeof(ArgsHead)) / sizeof(u32) && std::find(records, records + n, i) != records + n;
}

// What the call is called. It is counted meanwhile.
static std::string name_of(u32 call) {
  if (!arena->try_hold(call)) return "";
  u32 function = arena->record(call).function;
  std::string name = function ? text_of(function) : "";
  arena->drop(call);
  return name;
}

// The name of a call that has not ended and that has the object among its arguments; or "".
static std::string user_of(u32 i) {
  u32 end = arena->records_end();
  for (u32 call = arena->next_record(0); call < end; call = arena->next_record(call)) {
    u32 state = arena->record(call).state.load() & kStateMask;
    if (state != kFree && state != kSealed && is_argument(i, arena->record(call))) return name_of(call);
  }
  return "";
}

// holders(limit) -> [(uid, where, bytes, count, pids that hold or pin it, whether these are the arguments of a call, name of
// that call or of one that has the object as an argument)]
static PyObject* holders(PyObject*, PyObject* number) {
  unsigned long limit = PyLong_AsUnsignedLong(number);
  if (PyErr_Occurred() || !require_arena()) return nullptr;
  Own rows(PyList_New(0));
  for (const Big& big : biggest(limit)) {
    Record& r = arena->record(big.record);
    const char* where = "in memory";
    if (!big.arguments && r.where == kFile) where = "on disk";
    if (!big.arguments && r.where == kBlock && r.pins.load()) where = "pinned";
    std::string name = big.arguments ? name_of(big.record) : user_of(big.record);
    Own pids(pids_of(big.record));
    Own call(PyUnicode_DecodeUTF8(name.data(), Py_ssize_t(name.size()), "replace"));
    if (!rows || !pids || !call) return nullptr;
    Own row(Py_BuildValue("(KsKIOOO)", static_cast<unsigned long long>(r.uid), where, static_cast<unsigned long long>(big.bytes),
                          r.count.load(), pids.get(), big.arguments ? Py_True : Py_False, call.get()));
    if (!row || PyList_Append(rows.get(), row.get()) != 0) return nullptr;
  }
  return rows.release();
}

static PyMethodDef methods[] = {{"holders", holders, METH_O, nullptr}, {nullptr, nullptr, 0, nullptr}};

bool add_holders(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace shoal

// Titles: what ps and top show of this process, in the memory of its command line.
#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "execution.h"
#include "python.h"

namespace shoal {

char* title_at = nullptr;
static size_t title_room = 0;
static std::string idle_title;

void show_title(const char* prefix, const std::string& text) {
  if (!title_at) return;
  size_t before = std::min(std::strlen(prefix), title_room - 1);
  size_t n = std::min(text.size(), title_room - 1 - before);
  std::memcpy(title_at, prefix, before);
  std::memcpy(title_at + before, text.data(), n);
  std::memset(title_at + before + n, 0, title_room - before - n);
}

void show_idle_title() { show_title("", idle_title); }

// Where the command line begins and ends in memory: fields 48 and 49 of /proc/self/stat (proc(5)).
static bool find_title() {
  std::ifstream file("/proc/self/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  std::istringstream fields(text.substr(std::min(text.size(), text.rfind(')') + 1)));
  std::string skipped;
  for (int field = 3; field < 48; field++) fields >> skipped;
  unsigned long long start = 0, end = 0;
  if (!(fields >> start >> end) || end < start + 2) return false;
  title_at = reinterpret_cast<char*>(start);
  title_room = size_t(end - start);
  return true;
}

// set_title(text): what is shown while nothing is executed.
static PyObject* set_title(PyObject*, PyObject* text) {
  const char* idle = PyUnicode_AsUTF8(text);
  if (!idle) return nullptr;
  if (!find_title()) Py_RETURN_NONE;
  idle_title = idle;
  show_idle_title();
  Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"set_title", set_title, METH_O, nullptr}, {nullptr, nullptr, 0, nullptr}};

bool add_title(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace shoal

// Values in files: what does not fit into the arena, and what made room for others. Readers map the files.
#include "arena.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace shoal {

static constexpr double kDiskLimit = 0.95;  // of a disk that spilling may fill, unless RAY_local_fs_capacity_threshold says other

struct SpillFolder {
  std::string path;
  u32 bit;  // in spill_left_out
};

// All folders, in the order in which the value's file is looked for: each has its share of first places. (Uids are even numbers
// where every value comes with another record, so their last digits do not say whose turn it is.)
static std::vector<SpillFolder> folders_for(u64 uid, const char* folders) {
  std::vector<SpillFolder> found;
  for (const char* at = folders;;) {
    const char* end = std::strchr(at, '\n');
    found.push_back({end ? std::string(at, end) : std::string(at), u32(1) << found.size()});
    if (!end) break;
    at = end + 1;
  }
  u64 first = ((uid * 0x9e3779b97f4a7c15ull) >> 32) % found.size();
  std::rotate(found.begin(), found.begin() + std::ptrdiff_t(first), found.end());
  return found;
}

static std::string file_in(const std::string& folder, u64 uid) {
  char name[32];
  std::snprintf(name, sizeof name, "/%016llx", static_cast<unsigned long long>(uid));
  return folder + name;
}

// The value's file: in its first folder, or, where that could not take it, in the next one that could.
std::string Arena::file_of(u64 uid) const {
  auto folders = folders_for(uid, head->spill_directory);
  for (auto& folder : folders) {
    std::string path = file_in(folder.path, uid);
    if (folders.size() == 1 || access(path.c_str(), F_OK) == 0) return path;
  }
  return file_in(folders.front().path, uid);
}

static double disk_limit() {
  static const double limit = [] {
    const char* text = std::getenv("RAY_local_fs_capacity_threshold");
    return text ? std::strtod(text, nullptr) : kDiskLimit;
  }();
  return limit;
}

static bool disk_has_room(const char* folder, u64 bytes) {
  struct statvfs s;
  if (statvfs(folder, &s) != 0) return true;  // what is wrong with the folder is told by opening the file
  double total = double(s.f_blocks) * double(s.f_frsize);
  double free = double(s.f_bavail) * double(s.f_frsize);
  return free - double(bytes) >= total * (1 - disk_limit());
}

static bool write_all(int descriptor, const void* data, u64 bytes) {
  const char* at = static_cast<const char*>(data);
  while (bytes) {
    ssize_t n = write(descriptor, at, std::min<u64>(bytes, 1u << 30));
    if (n < 0) {
      if (errno == EINTR) continue;
      return false;
    }
    at += n;
    bytes -= u64(n);
  }
  return true;
}

static bool write_file(const std::string& folder, u64 uid, u64 bytes, const std::vector<std::pair<const void*, u64>>& parts) {
  mkdir(folder.c_str(), 0700);
  if (!disk_has_room(folder.c_str(), bytes)) {
    errno = ENOSPC;
    return false;
  }
  std::string path = file_in(folder, uid);
  int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (descriptor < 0) return false;
  for (auto& part : parts) {
    if (!write_all(descriptor, part.first, part.second)) {
      int code = errno;
      close(descriptor);
      unlink(path.c_str());
      errno = code;
      return false;
    }
  }
  close(descriptor);
  return true;
}

u64 described_bytes(u8 value_kind, const u8* value, u64 size) {
  if (value_kind == kPickle) return size;
  if (value_kind != kPack) return 0;
  PackHead h;
  if (size < sizeof h) return size;
  std::memcpy(&h, value, sizeof h);
  u64 stream_at = sizeof h + align_up(4ull * h.references, 8) + sizeof(PackBuffer) * u64(h.buffers);
  return stream_at > size || h.pickle_bytes > size - stream_at ? size : stream_at + h.pickle_bytes;
}

// Four sums side by side keep up with memory. Each step can be undone, so that one changed word always changes the result.
u64 checksum(const u8* at, u64 bytes) {
  constexpr u64 kFactor = 0x9e3779b97f4a7c15ull;
  u64 a = bytes, b = ~bytes, c = kFactor, d = ~kFactor;
  u64 words[4];
  auto take = [&](const u8* from) {
    std::memcpy(words, from, sizeof words);
    a = std::rotl((a ^ words[0]) * kFactor, 29);
    b = std::rotl((b ^ words[1]) * kFactor, 29);
    c = std::rotl((c ^ words[2]) * kFactor, 29);
    d = std::rotl((d ^ words[3]) * kFactor, 29);
  };
  for (; bytes >= sizeof words; at += sizeof words, bytes -= sizeof words) take(at);
  u8 rest[sizeof words] = {};
  std::memcpy(rest, at, bytes);
  take(rest);
  u64 sum = 0;
  for (u64 each : {a, b, c, d}) sum = std::rotl((sum ^ each) * kFactor, 29);
  return sum;
}

// A folder that is full or broken is left out, and asked again only when no other can take a value; the daemon tells of it.
bool Arena::value_to_file(u32 i, const std::vector<std::pair<const void*, u64>>& parts, u64 described) {
  Record& r = record(i);
  u64 bytes = 0;
  for (auto& part : parts) bytes += part.second;
  auto folders = folders_for(r.uid, head->spill_directory);
  u32 left_out = head->spill_left_out.load(std::memory_order_relaxed);
  std::stable_partition(folders.begin(), folders.end(), [&](const SpillFolder& folder) { return !(left_out & folder.bit); });
  bool written = false;
  int code = 0;
  for (auto& folder : folders) {
    written = write_file(folder.path, r.uid, bytes, parts);
    if (written && (left_out & folder.bit)) head->spill_left_out.fetch_and(~folder.bit);
    if (written) break;
    if (code != ENOSPC) code = errno;
    if (folders.size() > 1 && !(head->spill_left_out.fetch_or(folder.bit) & folder.bit)) ring();
  }
  errno = code;
  if (!written) return false;
  r.value_size = bytes;
  r.value_offset = checksum(static_cast<const u8*>(parts.front().first), described);
  head->spilled_bytes.fetch_add(bytes);
  head->spilled_objects.fetch_add(1);
  r.where = kFile;
  return true;
}

// Moves one unpinned value to a file. The references in it stay with the record (in its arguments' place).
bool Arena::spill_one(u32 i) {
  Record& r = record(i);
  u32 count = r.count.load(std::memory_order_relaxed);
  if ((r.state.load(std::memory_order_acquire) & kStateMask) != kSealed || r.where != kBlock || r.value_size < kSpillMinimum ||
      r.kind == kOrigin)
    return false;
  do {
    if (!count) return false;
  } while (!r.count.compare_exchange_weak(count, count + 1));
  u32 entry = enter(i, kSpill);
  bool done = false;
  u32 free = 0;
  bool sealed = (r.state.load(std::memory_order_acquire) & kStateMask) == kSealed;
  if (sealed && r.where == kBlock && r.pins.compare_exchange_strong(free, kSpilling | me)) {
    if (r.where != kBlock || r.args_size) {  // somebody else has just moved it, or replaced it
      r.pins.store(0);
      strike(entry);
      drop(i);
      return false;
    }
    u64 offset = r.value_offset;
    const u8* bytes = heap(offset);
    const u32* held = nullptr;
    u32 n = 0;
    if (r.value_kind == kPack) {
      n = reinterpret_cast<const PackHead*>(bytes)->references;
      held = reinterpret_cast<const u32*>(bytes + sizeof(PackHead));
    } else if (r.value_kind == kRefList || r.value_kind == kRefTuple) {
      n = u32(r.value_size / 4);
      held = reinterpret_cast<const u32*>(bytes);
    }
    if (n * 4 <= kArgsInline) {
      if (n) std::memcpy(r.args_inline, held, n * 4);
      r.args_size = n * 4;  // before `where` says that they are here
      done = value_to_file(i, {{bytes, r.value_size}}, described_bytes(r.value_kind, bytes, r.value_size));
      if (done) {
        free_block(offset);
      } else {
        r.args_size = 0;
      }
    }
    r.pins.store(0);
  }
  strike(entry);
  drop(i);
  return done;
}

// Keeps the value where it is until `unpin`; counted. The ledger calls it a pin once it is one: a death in between keeps the
// block in memory, no more.
u32 Arena::pin(u32 i) {
  hold(i);
  u32 number = enter(i, kHandle);
  atom<u32>& pins = record(i).pins;
  u32 seen = pins.load();
  while ((seen & kSpilling) || !pins.compare_exchange_weak(seen, seen + 1)) {
    if (!(seen & kSpilling)) continue;
    usleep(50);  // its block is moving to a file: a moment
    seen = pins.load();
  }
  entry(number).kind.store(kPin, std::memory_order_release);
  return number;
}

void Arena::unpin(u32 i, u32 number) {
  strike(number);
  record(i).pins.fetch_sub(1);
  drop(i);
}

u64 Arena::spill(u64 bytes_wanted) {
  u64 freed = 0;
  u32 end = records_end();
  if (!end) return 0;
  u32 start = head->spill_cursor.load() % end;
  auto pass = [&](u32 from, u32 to) {
    for (u32 i = next_record(from); i < to && freed < bytes_wanted; i = next_record(i)) {
      u64 bytes = record(i).value_size;
      if (spill_one(i)) freed += bytes;
      head->spill_cursor.store(i);
    }
  };
  pass(start, end);
  pass(0, std::min(start + 1, end));
  return freed;
}

}  // namespace shoal

// The block heap: runs of 64 KiB pages, and slabs of small blocks inside them. One lock; everything can be rebuilt from the page
// table and the slabs' bitmaps, whose writes are ordered so that the table can be walked after a crash at any instruction.
#include "arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

namespace shoal {

static constexpr u32 kClassBytes[kSizeClasses] = {64,   128,  192,  256,  384,  512,   768,   1024,  1536,
                                                  2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768};
static constexpr u32 kSlabHeadBytes = 192;
static_assert(sizeof(SlabHead) <= kSlabHeadBytes);

static u32 class_of(u64 bytes) {
  u32 c = 0;
  while (kClassBytes[c] < bytes) c++;
  return c;
}
static u32 slab_pages(u32 size_class) { return kClassBytes[size_class] <= 4096 ? 1 : 4; }
static u32 bin_of(u32 pages) { return std::min(u32(std::bit_width(pages)) - 1, kRunBins - 1); }
static u32 seconds() { return u32(now_ns() / 1'000'000'000) + 1; }

void Arena::unbin(u32 p) {
  PageEntry& e = page(p);
  if (e.next) page(e.next - 1).prev = e.prev;
  if (e.prev) {
    page(e.prev - 1).next = e.next;
  } else {
    head->bins[bin_of(e.length)] = e.next;
  }
  if (e.stamp_s) head->warm_pages.fetch_sub(e.length, std::memory_order_relaxed);
}

void Arena::bin(u32 p, u32 length, u32 stamp) {
  PageEntry& last = page(p + length - 1);
  PageEntry& e = page(p);
  last.kind = kPageFree;
  last.length = length;
  e.length = length;
  e.kind = kPageFree;
  e.stamp_s = stamp;
  u32& first = head->bins[bin_of(length)];
  e.prev = 0;
  e.next = first;
  if (first) page(first - 1).prev = p + 1;
  first = p + 1;
  if (stamp) head->warm_pages.fetch_add(length, std::memory_order_relaxed);
}

// A run of pages, or 0: page 0 is never handed out. The heap lock is held.
u32 Arena::allocate_run(u32 pages) {
  Header& h = *head;
  for (u32 b = bin_of(pages); b < kRunBins; b++) {
    u32 looked = 0;
    for (u32 link = h.bins[b]; link && looked < 64; link = page(link - 1).next, looked++) {
      u32 p = link - 1;
      PageEntry& e = page(p);
      if (e.length < pages) continue;
      u32 rest = e.length - pages;
      u32 stamp = e.stamp_s;
      unbin(p);
      if (rest) bin(p + pages, rest, stamp);
      e.length = pages;
      if (pages > 1) page(p + pages - 1).kind = kPageInner;
      self->alloc_offset.store(u64(p) * kPageBytes);
      e.kind = kPageRun;
      h.used_pages.fetch_add(pages, std::memory_order_relaxed);
      return p;
    }
  }
  if (h.pages_high == 0) {
    page(0).length = 1;
    page(0).kind = kPageRun;
    h.pages_high = 1;
  }
  if (h.pages - h.pages_high < pages) return 0;
  u32 p = h.pages_high;
  page(p).length = pages;
  if (pages > 1) page(p + pages - 1).kind = kPageInner;
  self->alloc_offset.store(u64(p) * kPageBytes);
  page(p).kind = kPageRun;
  h.pages_high = p + pages;
  h.used_pages.fetch_add(pages, std::memory_order_relaxed);
  return p;
}

// A run nobody uses, with the free ones beside it. It is as warm as the warmest of them.
void Arena::join_run(u32 p, u32 length, u32 stamp) {
  Header& h = *head;
  u32 start = p, total = length;
  page(p).kind = kPageFree;
  if (p + length < h.pages_high && page(p + length).kind == kPageFree) {
    u32 n = page(p + length).length;
    stamp = std::max<u32>(stamp, page(p + length).stamp_s);
    unbin(p + length);
    total += n;
  }
  if (p > 1 && page(p - 1).kind == kPageFree) {
    u32 n = page(p - 1).length;
    start = p - n;
    stamp = std::max<u32>(stamp, page(start).stamp_s);
    unbin(start);
    total += n;
  }
  bin(start, total, stamp);
}

void Arena::free_run(u32 p, u32 length) {
  head->used_pages.fetch_sub(length, std::memory_order_relaxed);
  join_run(p, length, seconds());
  ask_for_trim();
}

void Arena::list_slab(u32 p) {
  SlabHead* s = reinterpret_cast<SlabHead*>(heap(u64(p) * kPageBytes));
  u32& first = head->classes[page(p).size_class];
  page(p).prev = 0;
  page(p).next = first;
  if (first) page(first - 1).prev = p + 1;
  first = p + 1;
  s->listed = 1;
}

void Arena::unlist_slab(u32 p) {
  SlabHead* s = reinterpret_cast<SlabHead*>(heap(u64(p) * kPageBytes));
  PageEntry& e = page(p);
  if (e.next) page(e.next - 1).prev = e.prev;
  if (e.prev) {
    page(e.prev - 1).next = e.next;
  } else {
    head->classes[e.size_class] = e.next;
  }
  s->listed = 0;
}

static u64 slab_block(u32 p, u32 index, u32 bytes) { return u64(p) * kPageBytes + kSlabHeadBytes + u64(index) * bytes; }

// Finds a free small block; 0 = no room. The caller notes it before taking it.
u64 Arena::allocate_small(u32 c) {
  u32 link = head->classes[c];
  if (!link) {
    u32 pages = slab_pages(c);
    u32 p = allocate_run(pages);
    if (!p) return 0;
    SlabHead* s = reinterpret_cast<SlabHead*>(heap(u64(p) * kPageBytes));
    std::memset(s, 0, sizeof *s);
    s->block_bytes = kClassBytes[c];
    s->blocks = std::min<u32>(1024, (pages * kPageBytes - kSlabHeadBytes) / kClassBytes[c]);
    page(p).size_class = c;
    for (u32 i = 1; i < pages; i++) {
      page(p + i).length = i;
      page(p + i).kind = kPageInner;
    }
    page(p).kind = kPageSlab;
    list_slab(p);
    link = p + 1;
  }
  u32 p = link - 1;
  SlabHead* s = reinterpret_cast<SlabHead*>(heap(u64(p) * kPageBytes));
  for (u32 w = 0; w * 64 < s->blocks; w++) {
    u64 open = ~s->bitmap[w];
    if (!open) continue;
    u32 i = w * 64 + u32(std::countr_zero(open));
    if (i >= s->blocks) break;
    return slab_block(p, i, s->block_bytes);
  }
  panic("heap", "a slab in the list of those with room has none");
}

// Takes a block and notes it in the slot until it is attached to its record.
u64 Arena::allocate(u64 bytes) {
  lock(head->heap_lock);
  u64 offset = 0;
  if (bytes <= kClassBytes[kSizeClasses - 1]) {
    offset = allocate_small(class_of(bytes));
    if (offset) {
      self->alloc_offset.store(offset);
      u32 p = u32(offset / kPageBytes);
      if (page(p).kind == kPageInner) p -= page(p).length;
      SlabHead* s = reinterpret_cast<SlabHead*>(heap(u64(p) * kPageBytes));
      u32 i = u32((offset - slab_block(p, 0, 0)) / s->block_bytes);
      s->bitmap[i / 64] |= 1ull << (i % 64);
      if (++s->used == s->blocks) unlist_slab(p);
    }
  } else {
    u64 pages = align_up(bytes, kPageBytes) / kPageBytes;
    if (pages < head->pages) {
      u32 p = allocate_run(u32(pages));
      if (p) offset = u64(p) * kPageBytes;  // noted already
    }
  }
  unlock(head->heap_lock);
  return offset;
}

bool Arena::allocate_noted(u32 i, u64 bytes, bool args) {
  self->alloc_record = i;
  u64 offset = allocate(bytes);
  if (!offset) return false;
  Record& r = record(i);
  if (args) {
    r.args_offset = offset;
  } else {
    r.value_offset = offset;
    r.where = kBlock;
  }
  self->alloc_offset.store(0);
  return true;
}

bool Arena::allocate_args(u32 i, u64 bytes) { return allocate_noted(i, bytes, true); }
bool Arena::allocate_value(u32 i, u64 bytes) { return allocate_noted(i, bytes, false); }

void Arena::free_block(u64 offset) {
  u32 p = u32(offset / kPageBytes);
  lock(head->heap_lock);
  PageEntry& e = page(p);
  if (e.kind == kPageRun) {
    free_run(p, e.length);
  } else {
    if (e.kind == kPageInner) p -= e.length;
    if (page(p).kind != kPageSlab) panic("free_block", "the block is not in use");
    SlabHead* s = reinterpret_cast<SlabHead*>(heap(u64(p) * kPageBytes));
    u32 i = u32((offset - slab_block(p, 0, 0)) / s->block_bytes);
    u64 bit = 1ull << (i % 64);
    if (!(s->bitmap[i / 64] & bit)) panic("free_block", "the block is free already");
    s->bitmap[i / 64] &= ~bit;
    s->used--;
    if (!s->listed) list_slab(p);
    if (s->used == 0 && (page(p).next || page(p).prev)) {
      unlist_slab(p);
      u32 pages = page(p).length;
      free_run(p, pages);
    }
  }
  unlock(head->heap_lock);
}

// Whether what a process noted before taking it was taken. The heap lock is held.
bool Arena::block_is_taken(u64 offset) {
  u32 p = u32(offset / kPageBytes);
  if (p >= head->pages_high) return false;
  if (page(p).kind == kPageRun) return true;
  if (page(p).kind == kPageInner) p -= page(p).length;
  u64 at = offset - u64(p) * kPageBytes;
  if (page(p).kind != kPageSlab || at < kSlabHeadBytes) return false;
  SlabHead* s = reinterpret_cast<SlabHead*>(heap(u64(p) * kPageBytes));
  u64 i = (at - kSlabHeadBytes) / s->block_bytes;
  return s->bitmap[i / 64] >> (i % 64) & 1;
}

u64 Arena::block_bytes(u64 offset) {
  u32 p = u32(offset / kPageBytes);
  PageEntry& e = page(p);
  if (e.kind == kPageRun) return u64(e.length) * kPageBytes;
  if (e.kind == kPageInner) p -= e.length;
  return reinterpret_cast<SlabHead*>(heap(u64(p) * kPageBytes))->block_bytes;
}

// After a death inside the lock: lists and counters anew from the page table and the bitmaps.
void Arena::repair_heap() {
  Header& h = *head;
  std::fill(std::begin(h.bins), std::end(h.bins), 0u);
  std::fill(std::begin(h.classes), std::end(h.classes), 0u);
  h.warm_pages = 0;
  u64 used = 0;
  u32 end = h.pages_high;
  for (u32 p = 1; p < end;) {
    PageEntry& e = page(p);
    u32 length = e.length;
    if (!length || e.kind == kPageUnused || e.kind == kPageInner || p + length > end) {
      h.pages_high = p;  // the run being cut from the end when the process died
      break;
    }
    if (e.kind == kPageFree) {
      while (p + length < end && page(p + length).kind == kPageFree && page(p + length).length) length += page(p + length).length;
      bin(p, length, seconds());
    } else {
      used += length;
      if (e.kind == kPageSlab) {
        SlabHead* s = reinterpret_cast<SlabHead*>(heap(u64(p) * kPageBytes));
        s->used = 0;
        for (u64 word : s->bitmap) s->used += u32(std::popcount(word));
        s->listed = 0;
        if (s->used < s->blocks) list_slab(p);
      }
    }
    p += length;
  }
  h.used_pages = used;
}

// Tells the daemon that memory lies about: at most once between two of its trims.
void Arena::ask_for_trim() {
  if (!head->trim_asked.load(std::memory_order_relaxed) && !head->trim_asked.exchange(1)) ring();
}

u64 Arena::trim_heap(double idle_s) {
  Header& h = *head;
  h.trim_asked.store(0);
  u32 limit = seconds();
  u64 bytes = 0;
  lock(h.heap_lock);
  for (u32 c = 0; c < kSizeClasses; c++) {
    for (u32 link = h.classes[c], next; link; link = next) {
      u32 p = link - 1;
      next = page(p).next;
      SlabHead* s = reinterpret_cast<SlabHead*>(heap(u64(p) * kPageBytes));
      if (s->used) continue;
      u32 pages = page(p).length;
      unlist_slab(p);
      free_run(p, pages);
    }
  }
  unlock(h.heap_lock);
  for (u32 b = 0; b < kRunBins; b++) {
    for (;;) {
      lock(h.heap_lock);
      u32 p = 0;
      for (u32 link = h.bins[b]; link; link = page(link - 1).next) {
        PageEntry& e = page(link - 1);
        if (e.stamp_s && double(limit) - e.stamp_s >= idle_s) {
          p = link - 1;
          break;
        }
      }
      u32 length = 0;
      if (p) {
        length = page(p).length;
        unbin(p);
        if (length > 1) page(p + length - 1).kind = kPageInner;
        page(p).kind = kPageRun;
      }
      unlock(h.heap_lock);
      if (!p) break;
      if (madvise(heap(u64(p) * kPageBytes), u64(length) * kPageBytes, MADV_REMOVE) != 0)
        panic("trim", std::strerror(errno));
      bytes += u64(length) * kPageBytes;
      lock(h.heap_lock);
      join_run(p, length, 0);
      unlock(h.heap_lock);
    }
  }
  return bytes;
}

}  // namespace shoal

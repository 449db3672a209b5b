// A process's ledger: one entry for each count it holds, so that the daemon can give them back when the process dies.
#include "arena.h"

namespace shoal {

static u32 take_chunk(Header& h, Arena& arena) {
  u64 seen = h.free_chunks.load(std::memory_order_acquire);
  while (u32(seen)) {
    u32 i = u32(seen);
    u64 next = ((seen >> 32) + 1) << 32 | arena.chunk(i).next;
    if (h.free_chunks.compare_exchange_weak(seen, next, std::memory_order_acq_rel)) return i;
  }
  u32 i = h.chunks_used.fetch_add(1);
  if (i >= kMaxLedgerChunks) panic("ledger", "more than 66 million references are held");
  return i;
}

u32 Arena::enter(u32 record, LedgerKind kind) {
  if (free_entries_.empty()) {
    u32 c = take_chunk(*head, *this);
    LedgerChunk& fresh = chunk(c);
    for (auto& e : fresh.entries) e.kind.store(kEntryFree, std::memory_order_relaxed);
    fresh.next = self->ledger_first;
    self->ledger_first = c;
    free_entries_.reserve(free_entries_.size() + kLedgerChunkEntries);
    for (u32 i = kLedgerChunkEntries; i-- > 0;) free_entries_.push_back(c * kLedgerChunkEntries + i);
  }
  u32 number = free_entries_.back();
  free_entries_.pop_back();
  LedgerEntry& e = entry(number);
  e.record.store(record, std::memory_order_relaxed);
  e.kind.store(kind, std::memory_order_release);
  return number;
}

void Arena::strike(u32 number) {
  entry(number).kind.store(kEntryFree, std::memory_order_release);
  free_entries_.push_back(number);
}

}  // namespace shoal

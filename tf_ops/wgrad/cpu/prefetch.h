// Asks for memory while something else is computed.
#ifndef TF_OPS_WGRAD_CPU_PREFETCH_H_
#define TF_OPS_WGRAD_CPU_PREFETCH_H_

#include <algorithm>
#include <cstdint>

#include "tf_ops/wgrad/cpu/kernels.h"
#include "tf_ops/wgrad/cpu/ranges.h"

namespace wgrad {

// Asks for `rows` rows of `bytes` bytes, soon to be written.
inline void PrefetchToWrite(const char* first, int64_t stride_bytes, int64_t rows, int64_t bytes) {
  for (const char* row = first; row != first + rows * stride_bytes; row += stride_bytes) {
    for (int64_t byte = 0; byte < bytes; byte += kCacheLine) __builtin_prefetch(row + byte, 1);
    __builtin_prefetch(row + bytes - 1, 1);  // of rows that begin within a line
  }
}

struct Bytes {
  const void* first;
  int64_t count;
};

// Asks for all of it at once. The second-level cache can wait for more lines than the first-level one.
inline void PrefetchToSecondLevel(const Bytes& bytes) {
  const auto* first = static_cast<const char*>(bytes.first);
  for (int64_t byte = 0; byte < bytes.count; byte += kCacheLine) __builtin_prefetch(first + byte, 0, 2);
}

// Both in even steps, of which there are `asks`. Steps of more than a line leave gaps, which the processor's own
// prefetcher fills.
inline Lookahead SpreadEvenly(const Bytes& a, const Bytes& b, int64_t asks) {
  asks = std::max<int64_t>(1, asks);
  return {{{static_cast<const char*>(a.first), CeilDiv(a.count, asks)},
           {static_cast<const char*>(b.first), CeilDiv(b.count, asks)}}};
}

// Two runs of memory, in equal parts for `tiles` tiles that each ask `asks` times. Each has a stream, if every line of
// it can be asked for so; otherwise both streams share what is left of the one and then of the other.
class SpreadOverTiles {
 public:
  SpreadOverTiles(const Bytes& a, const Bytes& b, int64_t tiles, int64_t asks)
      : together_(SpreadEvenly(a, b, tiles * asks)), asks_(asks) {
    const int64_t a_lines = CeilDiv(a.count, kCacheLine), b_lines = CeilDiv(b.count, kCacheLine);
    if (std::max(a_lines, b_lines) <= tiles * asks) return;
    first_ = static_cast<const char*>(a.first);
    second_ = static_cast<const char*>(b.first) - a_lines * kCacheLine;
    first_lines_ = a_lines;
    half_tile_ = CeilDiv(a_lines + b_lines, 2 * tiles);
    step_ = CeilDiv(kCacheLine * half_tile_, std::max<int64_t>(1, asks));
  }

  Lookahead OfNextTile() {
    if (half_tile_ == 0) {
      const Lookahead lookahead = together_;
      for (Lookahead::Stream& stream : together_.streams) stream.next += asks_ * stream.step;
      return lookahead;
    }
    const Lookahead lookahead = {{{Line(line_), step_}, {Line(line_ + half_tile_), step_}}};
    line_ += 2 * half_tile_;
    return lookahead;
  }

 private:
  const char* Line(int64_t line) const { return (line < first_lines_ ? first_ : second_) + line * kCacheLine; }

  Lookahead together_;
  int64_t asks_;
  const char* first_ = nullptr;
  const char* second_ = nullptr;
  int64_t first_lines_ = 0, half_tile_ = 0, step_ = 0;
  int64_t line_ = 0;  // the next one
};

// So many runs of `bytes` bytes, `stride` bytes apart.
struct Runs {
  const char* first;
  int64_t bytes, stride, count;
};

// Two of them, of as many runs each, or none. Neighbouring tiles, which ask `asks` times, share a run: there are at
// least as many tiles as runs, and the last ones may find nothing left.
class RunsOverTiles {
 public:
  RunsOverTiles(const Runs& a, const Runs& b, int64_t tiles, int64_t asks)
      : runs_{a, b}, run_tiles_(tiles / std::max<int64_t>(1, a.count)), asks_(std::max<int64_t>(1, asks)) {}

  Lookahead OfNextTile() {
    const Lookahead lookahead = {{Of(runs_[0]), Of(runs_[1])}};
    ++tile_;
    return lookahead;
  }

 private:
  Lookahead::Stream Of(const Runs& runs) const {
    const int64_t run = tile_ / run_tiles_, bytes = CeilDiv(runs.bytes, run_tiles_);
    if (run >= runs.count) return {runs.first, 0};
    return {runs.first + run * runs.stride + tile_ % run_tiles_ * bytes, CeilDiv(bytes, asks_)};
  }

  const Runs runs_[2];
  const int64_t run_tiles_, asks_;
  int64_t tile_ = 0;  // the next one
};

// Runs of `bytes` bytes, `stride_bytes` apart, in `asks` even steps, or as many as that reaches in steps of a run.
inline RunLookahead::Stream SpreadRunsEvenly(const char* first, int64_t stride_bytes, int64_t runs, int64_t bytes,
                                             int64_t asks) {
  const bool one_run = bytes == stride_bytes;
  const int64_t run_bytes = one_run ? runs * bytes : bytes;
  const int64_t step = std::min(run_bytes, CeilDiv(runs * bytes, std::max<int64_t>(1, asks)));
  return {first, step, first + run_bytes, one_run ? 0 : stride_bytes - bytes, stride_bytes};
}

// Runs of `bytes` bytes, to be asked for in about equal parts by `calls` calls of Some: all at once would wait for free
// line buffers.
class Prefetch {
 public:
  Prefetch() = default;

  // Run i is at first + offsets[i] * offset_bytes.
  Prefetch(const char* first, const int64_t* offsets, int64_t offset_bytes, int64_t runs, int64_t bytes, int64_t calls)
      : first_(first), offsets_(offsets), offset_bytes_(offset_bytes), runs_(runs), bytes_(bytes) {
    // Runs that begin within a line reach into one more, which a third of the time of 3_1x1a waited for.
    if (Misaligned(0) || Misaligned(runs - 1)) bytes_ += kCacheLine - 1;
    lines_per_call_ = CeilDiv(runs * CeilDiv(bytes_, kCacheLine), calls);
  }

  // Run i is at first + i * stride_bytes.
  Prefetch(const char* first, int64_t stride_bytes, int64_t runs, int64_t bytes, int64_t calls)
      : Prefetch(first, nullptr, stride_bytes, runs, bytes, calls) {}

  void Some() {
    for (int64_t line = 0; line < lines_per_call_ && run_ < runs_; ++line) {
      __builtin_prefetch(Run(run_) + byte_);
      byte_ += kCacheLine;
      if (byte_ >= bytes_) {
        byte_ = 0;
        ++run_;
      }
    }
  }

 private:
  const char* Run(int64_t run) const { return first_ + (offsets_ == nullptr ? run : offsets_[run]) * offset_bytes_; }
  bool Misaligned(int64_t run) const {
    return run >= 0 && run < runs_ && reinterpret_cast<uintptr_t>(Run(run)) % kCacheLine != 0;
  }

  const char* first_ = nullptr;
  const int64_t* offsets_ = nullptr;
  int64_t offset_bytes_ = 0, runs_ = 0, bytes_ = 0, lines_per_call_ = 0;
  int64_t run_ = 0, byte_ = 0;  // the line that comes next
};

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_PREFETCH_H_

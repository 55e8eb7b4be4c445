// Ranges: the outputs that see the inside of the input through one filter tap, and shares of a range.
#ifndef TF_OPS_WGRAD_CPU_RANGES_H_
#define TF_OPS_WGRAD_CPU_RANGES_H_

#include <algorithm>
#include <cstdint>

namespace wgrad {

// Half-open.
struct Range {
  int64_t begin, end;

  int64_t size() const { return end - begin; }
  bool operator==(const Range& other) const { return begin == other.begin && end == other.end; }
};

// Empty where they have nothing in common.
inline Range Common(const Range& a, const Range& b) {
  const int64_t begin = std::max(a.begin, b.begin);
  return {begin, std::max(begin, std::min(a.end, b.end))};
}

inline int64_t CeilDiv(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

// The outputs o whose input index o * stride + offset lies in [0, in).
inline Range OutputsInside(int64_t offset, int64_t stride, int64_t in, int64_t out) {
  const int64_t begin = std::clamp<int64_t>(CeilDiv(-offset, stride), 0, out);
  const int64_t end = std::clamp<int64_t>(CeilDiv(in - offset, stride), begin, out);
  return {begin, end};
}

// The largest of near-equal shares of `total`, each of at most `most`: 49 in shares of at most 20 are 17, 16 and 16.
inline int64_t NearEqualShare(int64_t total, int64_t most) { return CeilDiv(total, CeilDiv(total, most)); }

// Calls run(first, count) for near-equal shares of [0, total), each of at most `most`, so that none is thin.
template <typename Run>
inline void ForEachShare(int64_t total, int64_t most, const Run& run) {
  int64_t shares = CeilDiv(total, most);
  for (int64_t first = 0; first < total; --shares) {
    const int64_t count = CeilDiv(total - first, shares);
    run(first, count);
    first += count;
  }
}

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_RANGES_H_

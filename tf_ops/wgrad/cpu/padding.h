// How many taps of a filter meet a pixel of X, and how many the padding.
#ifndef TF_OPS_WGRAD_CPU_PADDING_H_
#define TF_OPS_WGRAD_CPU_PADDING_H_

#include "tf_ops/wgrad/problem.h"

namespace wgrad {

// Pairs of an output pixel of one image and a tap that lies inside X; as a double, because they may not fit into 64
// bits.
double PixelTaps(const Problem& problem);

// As many as there were if none fell into the padding.
double AllPixelTaps(const Problem& problem);

// Which part of the pixels of X some tap sees.
double SeenPart(const Problem& problem);

// Nine tenths.
bool MostTapsInPadding(const Problem& problem);

// A fifth.
bool ManyTapsInPadding(const Problem& problem);

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_PADDING_H_

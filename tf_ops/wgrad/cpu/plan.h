// Which algorithm computes a problem, with which blocking, and why: a pure function of the problem and of the
// processor, never of the number of threads, so that a result depends on the inputs alone.
#ifndef TF_OPS_WGRAD_CPU_PLAN_H_
#define TF_OPS_WGRAD_CPU_PLAN_H_

#include <functional>
#include <string>

#include "tf_ops/wgrad/cpu/algorithm.h"
#include "tf_ops/wgrad/cpu/isa.h"
#include "tf_ops/wgrad/cpu/winograd_tiles.h"
#include "tf_ops/wgrad/problem.h"

namespace wgrad {

// Blocking of the direct algorithm: for each filter tap, dW (rows x columns) += A^T B over the output pixels.
struct DirectPlan {
  bool bf16_pairs;           // dot products of pairs of pixels, with zeros for those in the padding
  bool pointwise;            // each output pixel sees the input pixel in its place
  bool a_in_place;           // X is read where it lies
  bool in_place;             // accumulates in dW itself; otherwise in partial sums that a last pass adds and rounds
  bool sums_in_cache;        // near enough not to be asked for
  bool blocks_in_cache;      // this block of pixels, the next one and the sums
  int64_t taps, rows;        // per group
  int64_t slice_rows;        // rows of one packed slice of A
  int64_t pack_rows;         // rows packed at a time, whole slices
  int64_t columns;           // of one group
  int64_t padded_columns;    // columns rounded up to whole vectors
  int64_t column_block;      // most columns of one task, whole vectors
  int64_t group_block;       // groups of one task
  int64_t depth_block;       // pixels packed at a time
  int64_t blocks_per_slice;  // depth blocks of one partial sum
  int64_t group_tasks, depth_slices;
};

// Blocking of the direct algorithm on strips, whose pixels of X are packed once for all taps.
struct StripDirectPlan {
  bool fuse_columns;        // the filter's columns and the channels form one run of kw * c rows
  bool bf16_pairs;          // dot products of neighbouring pixels of an output row
  bool dy_in_place;         // dY is read where it lies
  int64_t taps, rows;       // per group
  int64_t columns;          // of one group
  int64_t padded_columns;   // columns rounded up to whole vectors
  int64_t strip_rows;       // output rows of one strip
  int64_t strips;           // of all images
  int64_t panel_channels;   // of one panel of X
  int64_t channel_block;    // channels of one group packed at a time, whole panels
  int64_t column_block;     // columns of one task, whole vectors
  int64_t group_block;      // groups of one task
  int64_t blocks_per_task;  // channel blocks
  int64_t strips_per_slice;
  int64_t channel_tasks, column_tasks, group_tasks, depth_slices;
};

// Blocking of Winograd's algorithm: the tiles are cut into chunks; the transforms of one chunk are multiplied point by
// point, and the products become taps of dW.
struct WinogradPlan {
  Tiling tiling;
  int64_t bundle_groups;  // multiplied as if they were one group, because alone they would not fill a vector
  int64_t bundles;
  int64_t rows, columns;   // input and output channels of a bundle
  bool shared_transforms;  // all workers transform a chunk together and then share out dW; otherwise each task has its
                           // own tiles and all of its bundles' dW
  bool in_place;           // taps go to dW itself; otherwise to partial sums that a last pass adds and rounds
  bool rounded;            // or they are rounded to dW as soon as they are known, which each is at once
  int64_t tiles;
  int64_t chunk_tiles;
  int64_t chunks;
  int64_t bundles_per_task, chunks_per_task;
  int64_t bundle_tasks, partial_sums;
  int64_t row_block, column_block;  // of dW, for one task after a shared transform
};

// Blocking of the algorithm for depthwise problems, one channel and one filter to a group: row by row, in place.
struct DepthwisePlan {
  bool windows;             // a pixel of X is loaded once for all columns of the filter, instead of for each
  int64_t window_pixels;    // neighbouring output pixels of one window
  int64_t window_rows;      // output rows of one window
  bool whole_rows;          // a task has all channels
  int64_t column_block;     // channels of one task; the last one also takes what is left
  int64_t strip_columns;    // of an output row: all, or a near-equal part
  int64_t strips_per_task;  // of one row each
  int64_t column_tasks, depth_slices;
};

// Blocking of the algorithm for thin groups: output channels across the vectors, pixels in strips of whole rows.
struct ThinGroupsPlan {
  int64_t column_block;    // output channels of one task, whole cache lines
  int64_t padded_columns;  // all output channels rounded up to whole vectors
  int64_t strip_rows;      // output rows of one strip
  int64_t run_rows;        // output rows that are summed in registers
  int64_t strips;          // of all images
  int64_t strips_per_task;
  int64_t column_tasks, depth_slices;
};

// Blocking of the direct algorithm on problems whose X and dY are multiplied where they lie, tap by tap.
struct DirectInPlacePlan {
  bool shared_vectors;  // filters of several groups share a vector
  bool staged;          // X and dY are copied to 32-bit elements first, strip by strip
  bool bf16_pairs;      // dot products of pairs of images
  bool in_place;        // accumulates in dW itself; otherwise in partial sums that a last pass adds and rounds
  int64_t columns;      // of a bundle: of a vector, of a group, or of a part of the only one
  int64_t bundles;
  int64_t bundle_tiles;   // of one tap
  int64_t strip_images;   // of one strip: one, or several that it has all rows of
  int64_t strip_rows;     // output rows of one strip and image
  int64_t strips;         // of all images
  double staged_vectors;  // of all strips
  int64_t depth_slices;   // of near-equally many strips
};

// Blocking of the direct algorithm on pointwise problems whose X and dY are multiplied where they lie.
struct PointwisePlan {
  bool staged;               // X and dY are copied to 32-bit elements first, block by block
  bool bf16_pairs;           // dot products of pairs of pixels
  bool waits_for_memory;     // rather than for products
  bool sums_in_cache;        // near enough not to be asked for
  bool in_place;             // accumulates in dW itself; otherwise in partial sums that a last pass adds and rounds
  int64_t padded_columns;    // filters rounded up to whole vectors
  int64_t depth_block;       // pixels
  int64_t blocks_per_slice;  // depth blocks of one partial sum
  int64_t depth_slices;
  int64_t parts;  // of dW, along its wider side, each with the sums that a cache holds; many workers cut it further
};

struct Plan {
  Algorithm algorithm = Algorithm::kReference;
  const char* reason = "";
  const Isa* isa = nullptr;
  bool strips = false;         // the direct or the depthwise algorithm runs on strips, not in place
  bool exchanged = false;      // X and dY change places, and the result is transposed
  bool folded = false;         // the columns of a patch count as channels
  int64_t bundled_pixels = 0;  // neighbours that are multiplied as if they were one pixel
  bool in_place = false;       // X and dY, or stages of them, are multiplied where they lie
  DirectPlan direct = {};
  StripDirectPlan strip_direct = {};
  PointwisePlan pointwise = {};
  DirectInPlacePlan direct_in_place = {};
  WinogradPlan winograd = {};
  DepthwisePlan depthwise = {};
  ThinGroupsPlan thin_groups = {};
  bool transpose = false;  // X and dY to NHWC first, which all algorithms but the reference read
  int64_t tasks = 1;
  size_t shared_bytes = 0;
  size_t worker_bytes = 0;
};

// `algorithm` is kAuto or the one that must run. Fills `plan`, or says why the algorithm cannot do the problem.
// `declined`, where given, is told of each candidate that was asked before and declined, with its reason.
Status MakePlan(const Problem& problem, Algorithm algorithm, const Isa& isa, Plan* plan,
                const std::function<void(Algorithm, const char* reason)>& declined = nullptr);

// The plan whose sums are those of the definition, term by term, for a problem that some other plan has computed.
void MakeExactPlan(const Problem& problem, const Isa& isa, Plan* plan);

// The problem in which X and dY have changed places, for one of stride 1 without groups: the pixel q of X meets the
// pixel o = q + pad - k * dilation of dY at the tap k, so that with the taps in reverse order o takes the place of a
// pixel that q sees. Its dW is the given one's turned by 180 degrees, channels and filters transposed. Its padding may
// be negative.
Problem Exchanged(const Problem& problem);

// The same problem with a filter of one column, whose patches lie side by side in X without padding: their columns and
// channels are one run of channels, in X as in dW.
Problem Folded(const Problem& problem);

// A pointwise problem whose pixels are so many neighbours of the given one's, side by side, and whose filters are at
// least as many as its channels, for which X and dY change places where they must. The diagonal blocks of its dW, one
// for each of the neighbours, add up to the given one's, or to its transpose.
Problem Bundled(const Problem& problem, int64_t pixels);

// A JSON object: "algorithm", "reason", "isa", "transpose", "blocking" (object), "workspace_bytes" (object: "shared",
// "per_worker"), "tasks", and "declined" (list of {"algorithm", "reason"}); or {"error"}.
std::string ExplainPlan(const Problem& problem, Algorithm algorithm);

// A JSON object: "isa", "vector_bits", "l1d_bytes", "l2_bytes", "l3_bytes".
std::string DescribeCpu();

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_PLAN_H_

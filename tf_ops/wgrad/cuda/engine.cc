#include "tf_ops/wgrad/cuda/engine.h"

#include <algorithm>

#include "tf_ops/wgrad/cuda/index.h"
#include "tf_ops/wgrad/cuda/kernels.h"
#include "tf_ops/wgrad/cuda/wgmma.h"

namespace wgrad::cuda {
namespace {

#define RETURN_IF_ERROR(expression)                 \
  if (Status status = (expression); !status.ok()) { \
    return status;                                  \
  }

char* At(void* base, int64_t bytes) { return static_cast<char*>(base) + bytes; }
const char* At(const void* base, int64_t bytes) { return static_cast<const char*>(base) + bytes; }

Status LaunchInstance(InstanceId id, const GemmView& view, Stream stream) {
  switch (id) {
#define WGRAD_LAUNCH(name, ...) \
  case InstanceId::k##name:     \
    return LaunchImplicitGemm<InstanceId::k##name>(view, stream);
    WGRAD_CUDA_GEMM_INSTANCES(WGRAD_LAUNCH)
#undef WGRAD_LAUNCH
    default:
      break;
  }
  return Status(Code::kInternal, "no such instance");
}

// Whether the slices are [group][slice][out channels][filter rows]. Otherwise: [slice][filter rows][out channels].
bool WritesKrsc(const Plan& plan) { return plan.method == Method::kImplicitGemm && !UsesWgmma(plan); }

// All groups of the images in `p`, NHWC, one launch each.
Status LaunchGroups(const Problem& p, const Plan& plan, const void* input, const void* out_backprop, void* slices,
                    Stream stream) {
  const auto narrow = [](int64_t value) { return static_cast<int>(value); };
  const int64_t group_channels = p.out_channels / p.groups;
  GemmView view;
  view.batch = narrow(p.batch);
  view.in_height = narrow(p.in_height);
  view.in_width = narrow(p.in_width);
  view.channels = narrow(p.filter_channels);
  view.input_pixel_stride = narrow(p.in_channels);
  view.out_height = narrow(p.out_height);
  view.out_width = narrow(p.out_width);
  view.out_channels = narrow(group_channels);
  view.output_pixel_stride = narrow(p.out_channels);
  view.filter_height = narrow(p.filter_height);
  view.filter_width = narrow(p.filter_width);
  view.pad_top = narrow(p.pad_top);
  view.pad_left = narrow(p.pad_left);
  view.stride_height = narrow(p.stride_height);
  view.stride_width = narrow(p.stride_width);
  view.dilation_height = narrow(p.dilation_height);
  view.dilation_width = narrow(p.dilation_width);
  view.slice_count = narrow(plan.slices);
  for (int64_t group = 0; group < p.groups; ++group) {
    view.input = At(input, group * p.filter_channels * ElementSize(p.dtype));
    view.out_backprop = At(out_backprop, group * group_channels * ElementSize(p.dtype));
    view.slices = At(slices, group * plan.slices * FilterRows(p) * group_channels * SumBytes(p.dtype));
    RETURN_IF_ERROR(LaunchInstance(plan.instance, view, stream));
  }
  return Status();
}

Status ToNhwc(const Problem& p, int64_t height, int64_t width, int64_t channels, const void* source, void* target,
              Stream stream) {
  return LaunchTranspose(p.dtype, source, p.batch, channels, height * width, target, stream);
}

Status LaunchSlices(const Problem& p, const Plan& plan, const void* input, const void* out_backprop, void* slices,
                    Stream stream) {
  switch (plan.method) {
    case Method::kImplicitGemm:
      return LaunchGroups(p, plan, input, out_backprop, slices, stream);
    case Method::kDepthwise:
      return LaunchDepthwise(p, input, out_backprop, plan.slices, slices, stream);
    default:
      return LaunchGeneral(p, input, out_backprop, plan.slices, slices, stream);
  }
}

}  // namespace

Status Launch(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
              void* filter_backprop, void* workspace, Stream stream) {
  if (plan.method == Method::kZeros) {
    const int64_t bytes = FilterElements(problem) * ElementSize(problem.dtype);
    return LaunchZeros(filter_backprop, bytes, stream);
  }
  const Workspace offsets = WorkspaceOf(problem, plan);
  const bool krsc = WritesKrsc(plan);
  const bool copies = ReadsNhwcCopies(problem, plan);
  const Problem seen = SeenBy(plan, problem);
  void* slices = At(workspace, offsets.slices);
  const Original asked = {&problem, input, out_backprop};
  const Original* original = plan.repair ? &asked : nullptr;
  const bool finishes = WritesResult(problem, plan);
  void* carry = At(workspace, offsets.carry);
  SliceView view = {slices, nullptr, plan.slices, 1, FilterRows(problem), problem.out_channels};
  if (krsc) {
    view = {slices, nullptr, plan.slices, problem.groups, problem.out_channels / problem.groups, FilterRows(seen)};
    view.tap_columns = seen.filter_channels;
    view.tap_channels = FilterRows(problem) / seen.filter_height / seen.filter_width;
  }
  for (int64_t first = 0; first < problem.batch; first += plan.images_per_round) {
    Problem round = ImagesOf(problem, std::min(plan.images_per_round, problem.batch - first));
    const void* x = At(input, first * InputElements(ImagesOf(problem, 1)) * ElementSize(problem.dtype));
    const void* dy = At(out_backprop, first * OutputElements(ImagesOf(problem, 1)) * ElementSize(problem.dtype));
    if (copies) {
      void* nhwc_x = At(workspace, offsets.input);
      void* nhwc_dy = At(workspace, offsets.out_backprop);
      RETURN_IF_ERROR(ToNhwc(round, round.in_height, round.in_width, round.in_channels, x, nhwc_x, stream));
      RETURN_IF_ERROR(ToNhwc(round, round.out_height, round.out_width, round.out_channels, dy, nhwc_dy, stream));
      x = nhwc_x;
      dy = nhwc_dy;
      round.layout = Layout::kNHWC;
    }
    if (Folds(plan, problem)) {
      RETURN_IF_ERROR(LaunchFold(round, x, At(workspace, offsets.folded), stream));
      x = At(workspace, offsets.folded);
    }
    round = SeenBy(plan, round);
    if (UsesWgmma(plan)) {
      const wgmma::Results results = {plan.in_clusters, slices, finishes ? filter_backprop : nullptr, original};
      RETURN_IF_ERROR(wgmma::Launch(plan.instance, round, x, dy, plan.slices, results, stream));
    } else {
      RETURN_IF_ERROR(LaunchSlices(round, plan, x, dy, slices, stream));
    }
    view.carry = first > 0 ? carry : nullptr;
    if (first + plan.images_per_round < problem.batch) {
      RETURN_IF_ERROR(LaunchCarry(problem.dtype, view, carry, stream));
    }
  }
  return finishes ? Status() : LaunchFinish(problem.dtype, view, krsc, filter_backprop, original, stream);
}

}  // namespace wgrad::cuda

// The direct algorithm on strips: X is packed once for all filter taps, and the micro-kernel finds a tap's pixels
// through a list. Packing tap by tap instead, as direct.cc does, takes 12 % of the time of a 3 x 3 filter with 128
// channels, and a third with 16. Where X has few channels, a row of the filter is one run of columns and channels.
#include "tf_ops/wgrad/cpu/strip_direct.h"

#include <algorithm>
#include <optional>

#include "tf_ops/wgrad/cpu/blocking.h"
#include "tf_ops/wgrad/cpu/direct.h"
#include "tf_ops/wgrad/cpu/prefetch.h"
#include "tf_ops/wgrad/cpu/strip.h"

namespace wgrad {
namespace {

// The micro-kernel runs over one chunk of dY's pixels: near-equal chunks of at most so many.
constexpr int64_t kMostPixels = 160;

int64_t Chunks(int64_t pixels) { return CeilDiv(pixels, kMostPixels); }

// Near-equal strips of about one chunk.
int64_t StripRows(const Problem& p) {
  return NearEqualShare(p.out_height, std::clamp<int64_t>(kMostPixels / p.out_width, 1, p.out_height));
}

int64_t ChunkPixels(const Problem& p, const StripDirectPlan& plan) {
  const int64_t pixels = plan.strip_rows * StripColumns(p);
  return RoundUp(NearEqualShare(pixels, kMostPixels), PixelsPerRow(plan.bf16_pairs));
}

// Odd, so that neighbouring panels start in different cache sets.
int64_t OutputPitch(const Problem& p, const StripDirectPlan& plan) {
  return (ChunkPixels(p, plan) / PixelsPerRow(plan.bf16_pairs)) | 1;
}

struct WorkerBytes {
  int64_t x, dy, offsets, index;
  int64_t total() const { return x + dy + offsets + index; }
};

WorkerBytes WorkerBytesOf(const Problem& p, const StripDirectPlan& plan, int64_t sum_size) {
  const int64_t pixels = plan.strip_rows * StripColumns(p);
  WorkerBytes bytes;
  bytes.x = AlignedBytes(InputPitch(p, plan.strip_rows) * plan.group_block * plan.channel_block * sum_size);
  bytes.dy =
      plan.dy_in_place
          ? 0
          : AlignedBytes(Chunks(pixels) * OutputPitch(p, plan) * plan.group_block * plan.column_block * sum_size);
  bytes.offsets = AlignedBytes(std::max(pixels, StripWidth(p)) * sizeof(int64_t));
  bytes.index = AlignedBytes(pixels * sizeof(int32_t));
  return bytes;
}

template <typename T>
class Task {
 public:
  Task(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop, T* sums, char* scratch)
      : p_(problem),
        plan_(plan.strip_direct),
        kernels_(KernelsOf<T>(*plan.isa, plan_.bf16_pairs)),
        input_pitch_(InputPitch(problem, plan_.strip_rows)),
        output_pitch_(OutputPitch(problem, plan_)),
        sum_columns_(problem.groups * plan_.padded_columns),
        input_(static_cast<const char*>(input)),
        out_backprop_(static_cast<const char*>(out_backprop)),
        all_sums_(sums) {
    const WorkerBytes bytes = WorkerBytesOf(problem, plan_, sizeof(T));
    x_ = reinterpret_cast<T*>(scratch);
    dy_ = reinterpret_cast<T*>(scratch += bytes.x);
    offsets_ = reinterpret_cast<int64_t*>(scratch += bytes.dy);
    index_ = reinterpret_cast<int32_t*>(scratch += bytes.offsets);
  }

  void Run(int64_t task) {
    const int64_t channel_task = task % plan_.channel_tasks;
    const int64_t column_task = (task /= plan_.channel_tasks) % plan_.column_tasks;
    const int64_t group_task = (task /= plan_.column_tasks) % plan_.group_tasks;
    const int64_t depth_slice = task / plan_.group_tasks;

    const int64_t channels_per_task = plan_.blocks_per_task * plan_.channel_block;
    const int64_t first_channel = channel_task * channels_per_task;
    const int64_t end_channel = std::min(p_.filter_channels, first_channel + channels_per_task);
    first_column_ = column_task * plan_.column_block;
    columns_ = std::min(plan_.columns - first_column_, plan_.column_block);
    first_group_ = group_task * plan_.group_block;
    groups_ = std::min(p_.groups - first_group_, plan_.group_block);
    sums_ = all_sums_ + depth_slice * plan_.taps * plan_.rows * sum_columns_;

    channels_ = 0;
    const int64_t begin = depth_slice * plan_.strips_per_slice;
    const int64_t end = std::min(plan_.strips, begin + plan_.strips_per_slice);
    for (int64_t i = begin; i < end; ++i) {
      const Strip strip(p_, plan_.strip_rows, StripColumns(p_), i);
      next_strip_.reset();
      if (!plan_.dy_in_place) PackOutput(strip);
      for (int64_t channel = first_channel; channel < end_channel; channel += plan_.channel_block) {
        PackInput(strip, channel, std::min(plan_.channel_block, end_channel - channel));
        if (channel == first_channel && i + 1 < end) AskForNext(strip, first_channel);
        for (int64_t group = 0; group < groups_; ++group) MultiplyGroup(strip, group, channel, i > begin);
      }
    }
  }

 private:
  void ClearInput() { std::fill_n(x_, input_pitch_ * plan_.group_block * plan_.channel_block, T(0)); }

  // The groups' channels lie side by side, in X as in the panels.
  void PackInput(const Strip& strip, int64_t first_channel, int64_t channels) {
    // Panels of a narrower block find their padding where those of the others have pixels, and the other way round.
    if (channels != channels_) ClearInput();
    channels_ = channels;
    const int64_t all_channels = groups_ * channels;
    const int64_t first = first_group_ * p_.filter_channels + first_channel;
    ForEachInputRow(
        p_, strip,
        [&](int64_t offset, int64_t pixels, int64_t slot) {
          if (plan_.bf16_pairs) return PackPairs(offset, pixels, slot);
          if (plan_.panel_channels == p_.in_channels) {  // the one panel is X itself
            const int64_t elements = pixels * p_.in_channels;
            offsets_[0] = offset;
            Pack(input_, 1, elements, elements, 1, 0, x_ + slot * p_.in_channels);
            return;
          }
          for (int64_t i = 0; i < pixels; ++i) offsets_[i] = offset + first + i * p_.in_channels;
          Pack(input_, pixels, all_channels, plan_.panel_channels, input_pitch_, slot, x_);
        },
        [&](int64_t slot, int64_t pixels) {
          for (int64_t channel = 0; channel < all_channels; channel += plan_.panel_channels) {
            const int64_t step = PanelStride(all_channels - channel, plan_.panel_channels, kernels_.lanes);
            std::fill_n(x_ + channel * input_pitch_ + slot * step, pixels * step, T(0));
          }
        });
  }

  // Each of the pixels, which lie side by side, with the one that the next output pixel sees in its place, a stride
  // ahead. Those before the first one are partners in the padding.
  void PackPairs(int64_t offset, int64_t pixels, int64_t slot) {
    const int64_t lead = std::min(p_.stride_width, slot % StripWidth(p_));
    for (int64_t pixel = -lead; pixel < pixels;) {
      const int64_t partner = pixel + p_.stride_width;
      const bool in_image = pixel >= 0, partner_in_image = partner < pixels;
      const int64_t end = std::min(in_image ? pixels : 0, partner_in_image ? pixels - p_.stride_width : pixels);
      offsets_[0] = in_image ? offset + pixel * p_.in_channels : -1;
      offsets_[1] = partner_in_image ? offset + partner * p_.in_channels : -1;
      const int64_t elements = (end - pixel) * p_.in_channels;
      Pack(input_, 2, elements, elements, 1, 0, x_ + (slot + pixel) * p_.in_channels);
      pixel = end;
    }
  }

  // Chunk by chunk, group by group; all groups in one run where the panels of each are as wide as the group.
  void PackOutput(const Strip& strip) {
    const int64_t pixels = strip.pixels();
    const int64_t chunk_pixels = ChunkPixels(p_, plan_);
    const bool one_run = plan_.columns == plan_.padded_columns && plan_.columns <= kMaxVectors * kernels_.lanes;
    for (int64_t first = 0; first < pixels; first += chunk_pixels) {
      const int64_t count = std::min(chunk_pixels, pixels - first);
      const int64_t pixel = strip.first_pixel(p_) + first;
      for (int64_t group = 0; group < (one_run ? 1 : groups_); ++group) {
        const int64_t channel = (first_group_ + group) * plan_.columns + first_column_;
        for (int64_t i = 0; i < count; ++i) offsets_[i] = (pixel + i) * p_.out_channels + channel;
        Pack(out_backprop_, count, one_run ? groups_ * plan_.columns : columns_,
             one_run ? plan_.columns : kMaxVectors * kernels_.lanes, output_pitch_, 0,
             PackedOutput(first / chunk_pixels, group));
      }
    }
  }

  // What the next strip adds is asked for while this one is multiplied. ResNeXt's 28 x 28 layer of 8 channels a group
  // gains 19 %, ResNet's first layer 5 %.
  void AskForNext(const Strip& strip, int64_t first_channel) {
    const int64_t size = ElementSize(p_.dtype);
    const int64_t rows = plan_.fuse_columns ? plan_.rows : std::min(plan_.panel_channels, channels_);
    const int64_t slices = groups_ * CeilDiv(channels_, plan_.panel_channels) * plan_.taps;
    const int64_t pixels = strip.pixels(), chunks = Chunks(pixels);

    const Range new_pixels = NewInputPixels(p_, strip);
    const int64_t input_pixels = new_pixels.size();
    const int64_t channel = first_group_ * p_.filter_channels + first_channel;
    const char* input = input_ + (new_pixels.begin * p_.in_channels + channel) * size;
    const int64_t input_run = groups_ * channels_ * size, input_stride = p_.in_channels * size;

    const int64_t column = first_group_ * plan_.columns + first_column_;
    const char* output = out_backprop_ + ((strip.first_pixel(p_) + pixels) * p_.out_channels + column) * size;
    const int64_t output_run = groups_ * columns_ * size, output_stride = p_.out_channels * size;

    // Three channels of 256 x 256 pixels gain 33 % over bursts between the tiles, ResNet's first layer 5 %.
    if (input_run == input_stride && output_run == output_stride) {
      const int64_t asks =
          slices * chunks * Asks(kernels_, pixels / chunks / PixelsPerRow(plan_.bf16_pairs), rows, columns_);
      next_strip_ = SpreadEvenly({input, input_pixels * input_run}, {output, pixels * output_run}, asks);
    } else {
      const int64_t tiles = slices * chunks * Tiles(kernels_, rows, columns_);
      next_input_ = Prefetch(input, input_stride, input_pixels, input_run, tiles);
      next_output_ = Prefetch(output, output_stride, pixels, output_run, tiles);
    }
  }

  // Where the strip's pixels of X that the first tap sees lie in a panel of `step` elements to a pixel.
  void IndexPixels(int64_t step) {
    if (step == index_step_) return;
    index_step_ = step;
    for (int64_t row = 0, i = 0; row < plan_.strip_rows; ++row) {
      for (int64_t ow = 0; ow < StripColumns(p_); ++ow, ++i) {
        index_[i] = static_cast<int32_t>((row * p_.stride_height * StripWidth(p_) + ow * p_.stride_width) * step);
      }
    }
  }

  void MultiplyGroup(const Strip& strip, int64_t group, int64_t first_channel, bool accumulate) {
    const int64_t pixels = strip.pixels();
    const int64_t chunk_pixels = ChunkPixels(p_, plan_);
    const int64_t filter_columns = plan_.fuse_columns ? 1 : p_.filter_width;
    // The pixels of one row are equally far apart, which takes an instruction less: ResNet's first layer gains 10 %.
    const bool one_row = plan_.strip_rows == 1;
    const Indexed indexed = one_row ? kNotIndexed : kIndexedA;
    for (int64_t channel = 0; channel < channels_; channel += plan_.panel_channels) {
      const int64_t panel_channels = std::min(plan_.panel_channels, channels_ - channel);
      const int64_t step = PanelStride(panel_channels, plan_.panel_channels, kernels_.lanes);
      IndexPixels(step);
      const int64_t rows = plan_.fuse_columns ? plan_.rows : panel_channels;
      const T* panel = x_ + (group * channels_ + channel) * input_pitch_;
      for (int64_t tap = 0; tap < plan_.taps; ++tap) {
        const int64_t kh = tap / filter_columns, kw = tap % filter_columns;
        const T* x = panel + (kh * p_.dilation_height * StripWidth(p_) + kw * p_.dilation_width) * step;
        T* sums = sums_ + (tap * plan_.rows + first_channel + channel) * sum_columns_ +
                  (first_group_ + group) * plan_.padded_columns + first_column_;
        for (int64_t first = 0; first < pixels; first += chunk_pixels) {
          const int64_t count = std::min(chunk_pixels, pixels - first);
          MultiplySlice(kernels_, indexed, {0, CeilDiv(count, PixelsPerRow(plan_.bf16_pairs))},
                        one_row ? x + index_[first] : x, PixelsPerRow(plan_.bf16_pairs) * p_.stride_width * step, rows,
                        OutputPanels(strip, first, group), columns_, index_ + first,
                        {sums, sum_columns_, accumulate || first > 0, true}, next_strip_, [&] {
                          next_input_.Some();
                          next_output_.Some();
                        });
        }
      }
    }
  }

  void Pack(const char* from, int64_t pixels, int64_t channels, int64_t panel_channels, int64_t pitch, int64_t slot,
            T* to) {
    kernels_.pack[static_cast<int>(p_.dtype)](from, offsets_, pixels, channels, panel_channels, pitch, slot, to);
  }

  // From the strip's pixel `first` on, where a chunk begins.
  PanelsOfB<T> OutputPanels(const Strip& strip, int64_t first, int64_t group) const {
    if (!plan_.dy_in_place) {
      return PanelsOfB<T>::Packed(PackedOutput(first / ChunkPixels(p_, plan_), group), output_pitch_);
    }
    const int64_t column = (first_group_ + group) * plan_.columns + first_column_;
    const T* dy = reinterpret_cast<const T*>(out_backprop_);
    return PanelsOfB<T>::InPlace(dy + (strip.first_pixel(p_) + first) * p_.out_channels + column, p_.out_channels);
  }

  T* PackedOutput(int64_t chunk, int64_t group) const {
    return dy_ + (chunk * plan_.group_block + group) * plan_.column_block * output_pitch_;
  }

  const Problem& p_;
  const StripDirectPlan& plan_;
  const Kernels<T>& kernels_;
  const int64_t input_pitch_, output_pitch_;
  const int64_t sum_columns_;
  const char* input_;
  const char* out_backprop_;
  T* all_sums_;
  T* x_;
  T* dy_;
  int64_t* offsets_;
  int32_t* index_;
  int64_t index_step_ = 0;
  int64_t first_column_, columns_, first_group_, groups_;
  int64_t channels_;  // of each group, packed
  T* sums_;
  std::optional<Lookahead> next_strip_;
  Prefetch next_input_, next_output_;
};

}  // namespace

bool FusesColumns(const Problem& p) {
  constexpr int64_t kFewChannels = 16;
  return p.dilation_width == 1 && p.filter_width > 1 && p.filter_channels < kFewChannels;
}

bool StripMultipliesPairs(const Problem& p, const Isa& isa) {
  return MultipliesPairs(p, isa) && FusesColumns(p) && SliceRows(p.filter_channels) == p.in_channels &&
         StripRows(p) == 1 && !CutsRows(p);
}

void PlanStripDirect(const Problem& p, const Isa& isa, Plan* plan) {
  const int64_t sum_size = SumSize(p.dtype), lanes = Lanes(p.dtype, isa);
  StripDirectPlan& s = plan->strip_direct;
  s.fuse_columns = FusesColumns(p);
  s.taps = s.fuse_columns ? p.filter_height : Taps(p);
  s.rows = s.fuse_columns ? p.filter_width * p.filter_channels : p.filter_channels;
  s.columns = p.out_channels / p.groups;
  s.padded_columns = RoundUp(s.columns, lanes);
  // Three channels of 224 x 224 pixels gain 13 %. With AVX2, which reads a row of dY for every four of X, the 21 rows
  // of ResNet's first layer lose 6 %, with AVX-512 they gain 3 %.
  constexpr int64_t kFewRows = 12;
  const bool few_reads = isa.vector_bytes >= kWideVectorBytes || s.rows <= kFewRows;
  s.dy_in_place = SumsInItsType(p.dtype) && s.columns % lanes == 0 && few_reads;

  s.strip_rows = StripRows(p);
  s.strips = Strips(p, s.strip_rows, StripColumns(p));

  // 160 pixels of 256 floats are 160 KiB: they and X's strip stay in a second-level cache of 512 KiB.
  constexpr int64_t kPanelRowBytes = 1024, kStripBytes = 128 << 10;
  s.column_tasks = CeilDiv(s.padded_columns * sum_size, kPanelRowBytes);
  s.column_block = RoundUp(CeilDiv(s.columns, s.column_tasks), lanes);
  s.column_tasks = CeilDiv(s.columns, s.column_block);

  s.panel_channels = SliceRows(p.filter_channels);
  s.bf16_pairs = StripMultipliesPairs(p, isa);
  const int64_t panels = CeilDiv(p.filter_channels, s.panel_channels);
  const int64_t panel_bytes = InputPitch(p, s.strip_rows) * s.panel_channels * sum_size;
  const int64_t block_panels = std::clamp<int64_t>(kStripBytes / panel_bytes, 1, panels);
  s.channel_block = block_panels * s.panel_channels;
  // Groups share a strip where their panels lie side by side: runs of up to 1 KiB of X.
  constexpr int64_t kRunBytes = 1024, kGroupStripBytes = 256 << 10;
  const bool side_by_side = block_panels == panels && p.filter_channels % s.panel_channels == 0;
  s.group_block = side_by_side ? std::clamp<int64_t>(std::min(kRunBytes / (p.filter_channels * sum_size),
                                                              kGroupStripBytes / (panels * panel_bytes)),
                                                     1, p.groups)
                               : 1;
  s.group_tasks = CeilDiv(p.groups, s.group_block);

  const int64_t others = s.column_tasks * s.group_tasks;
  const int64_t sum_bytes = s.taps * s.rows * p.groups * s.padded_columns * sum_size;
  const int64_t chains = ChainSlices(s.strips * Chunks(s.strip_rows * StripColumns(p)), sum_bytes);
  s.strips_per_slice = CeilDiv(s.strips, std::max(DepthSlices(WantedTasks(p), s.strips, sum_bytes), chains));
  s.depth_slices = CeilDiv(s.strips, s.strips_per_slice);
  const int64_t blocks = CeilDiv(panels, block_panels);
  const int64_t channel_tasks = std::clamp<int64_t>(WantedTasks(p) / (s.depth_slices * others), 1, blocks);
  s.blocks_per_task = CeilDiv(blocks, channel_tasks);
  s.channel_tasks = CeilDiv(blocks, s.blocks_per_task);

  plan->tasks = s.depth_slices * others * s.channel_tasks;
  plan->shared_bytes = AlignedBytes(s.depth_slices * sum_bytes);
  plan->worker_bytes = WorkerBytesOf(p, s, sum_size).total();
}

bool RunStripDirect(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
                    void* filter_backprop, char* shared, char* workers, Executor* executor) {
  const StripDirectPlan& blocking = plan.strip_direct;
  const SumLayout layout = {blocking.taps * blocking.rows, problem.groups, blocking.columns, blocking.padded_columns};
  const auto run = problem.dtype == DataType::kFloat64 ? SumTasks<Task<double>, double> : SumTasks<Task<float>, float>;
  return run(problem, plan, layout, blocking.depth_slices, input, out_backprop, filter_backprop, shared, workers,
             executor);
}

}  // namespace wgrad

#include "tf_ops/wgrad/problem.h"

#include <algorithm>
#include <limits>
#include <sstream>

namespace wgrad {
namespace {

// TensorFlow's own convolutions read strides, dilations and paddings as int32. With that bound and the one on extents,
// no coordinate of the definition overflows int64.
constexpr int64_t kMaxWindowAttribute = std::numeric_limits<int32_t>::max();
constexpr int64_t kMaxExtent = std::numeric_limits<int64_t>::max() / 2;

constexpr const char* kPaddingNames[] = {"VALID", "SAME", "EXPLICIT"};

template <typename... Parts>
Status Invalid(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  return InvalidArgument(message.str());
}

std::string ToString(const std::vector<int64_t>& shape) {
  std::ostringstream text;
  text << '[';
  for (size_t i = 0; i < shape.size(); ++i) text << (i == 0 ? "" : ",") << shape[i];
  text << ']';
  return text.str();
}

// Where each dimension stands in a shape, in strides and in dilations.
struct Positions {
  int batch, height, width, channels;
};

Positions PositionsOf(Layout layout) { return layout == Layout::kNHWC ? Positions{0, 1, 2, 3} : Positions{0, 2, 3, 1}; }

Status ValidateSteps(const char* name, const std::vector<int64_t>& steps, Layout layout) {
  if (steps.size() != 4) return Invalid(name, " must have 4 values, got ", steps.size());
  for (int i = 0; i < 4; ++i) {
    if (steps[i] < 1 || steps[i] > kMaxWindowAttribute) {
      return Invalid(name, "[", i, "] must be in [1, ", kMaxWindowAttribute, "], got ", steps[i]);
    }
  }
  const Positions at = PositionsOf(layout);
  if (steps[at.batch] != 1) return Invalid(name, "[", at.batch, "] (batch) must be 1, got ", steps[at.batch]);
  if (steps[at.channels] != 1) {
    return Invalid(name, "[", at.channels, "] (channels) must be 1, got ", steps[at.channels]);
  }
  return Status();
}

Status ValidatePaddings(const ConvAttributes& attributes) {
  const std::vector<int64_t>& paddings = attributes.explicit_paddings;
  if (attributes.padding != Padding::kExplicit) {
    if (paddings.empty()) return Status();
    return Invalid("explicit_paddings must be empty when padding is ",
                   kPaddingNames[static_cast<int>(attributes.padding)], ", got ", paddings.size(), " values");
  }
  if (paddings.size() != 8) {
    return Invalid("explicit_paddings must have 8 values when padding is EXPLICIT, got ", paddings.size());
  }
  const Positions at = PositionsOf(attributes.layout);
  for (int i = 0; i < 8; ++i) {
    if (paddings[i] < 0 || paddings[i] > kMaxWindowAttribute) {
      return Invalid("explicit_paddings[", i, "] must be in [0, ", kMaxWindowAttribute, "], got ", paddings[i]);
    }
    const bool is_batch = i / 2 == at.batch;
    if ((is_batch || i / 2 == at.channels) && paddings[i] != 0) {
      return Invalid("explicit_paddings[", i, "] (", is_batch ? "batch" : "channels", ") must be 0, got ", paddings[i]);
    }
  }
  return Status();
}

Status ValidateShape(const char* name, const std::vector<int64_t>& shape) {
  if (shape.size() != 4) return Invalid(name, " must have 4 dimensions, got shape ", ToString(shape));
  // An empty tensor may have large dimensions too, so zeros count as ones.
  int64_t elements = 1;
  for (int i = 0; i < 4; ++i) {
    if (shape[i] < 0) return Invalid(name, " dimension ", i, " must be at least 0, got ", shape[i]);
    if (__builtin_mul_overflow(elements, std::max<int64_t>(1, shape[i]), &elements) ||
        elements > kMaxExtent / static_cast<int64_t>(sizeof(double))) {
      return Invalid(name, " must have fewer than 2^59 elements, got shape ", ToString(shape));
    }
  }
  return Status();
}

// One spatial axis of the convolution.
struct Axis {
  const char* name;
  int64_t in, filter, stride, dilation, pad_before, pad_after;
};

Axis AxisOf(const char* name, const ConvAttributes& attributes, int position, int64_t in, int64_t filter) {
  Axis axis = {name, in, filter, attributes.strides[position], attributes.dilations[position], 0, 0};
  if (attributes.padding == Padding::kExplicit) {
    axis.pad_before = attributes.explicit_paddings[2 * position];
    axis.pad_after = attributes.explicit_paddings[2 * position + 1];
  }
  return axis;
}

// The output size and the padding before the first input, as TensorFlow's Conv2D defines them.
Status Slide(const Axis& axis, Padding padding, int64_t* out, int64_t* pad_before) {
  if (axis.filter < 1) return Invalid("filter ", axis.name, " must be at least 1, got ", axis.filter);
  int64_t span;
  if (__builtin_mul_overflow(axis.filter - 1, axis.dilation, &span) || span >= kMaxExtent) {
    return Invalid("filter ", axis.name, " must span less than 2^62 inputs, got ", axis.filter, " with dilation ",
                   axis.dilation);
  }
  ++span;
  if (padding == Padding::kSame) {
    *out = (axis.in + axis.stride - 1) / axis.stride;
    *pad_before = std::max<int64_t>(0, (*out - 1) * axis.stride + span - axis.in) / 2;
    return Status();
  }
  // Conv2D divides towards zero: a filter that overhangs by less than two strides gives an empty output, not an error.
  const int64_t padded = axis.in + axis.pad_before + axis.pad_after;
  *out = (padded - span + axis.stride) / axis.stride;
  *pad_before = axis.pad_before;
  if (*out < 0) {
    return Invalid("filter ", axis.name, " must fit into the padded input ", axis.name, " of ", padded, ", got ",
                   axis.filter, ", which spans ", span, " with dilation ", axis.dilation);
  }
  return Status();
}

// All of the problem but its type, from the input, the filter and the attributes alone.
Status Derive(const ConvAttributes& attributes, const std::vector<int64_t>& input_shape,
              const std::vector<int64_t>& filter_shape, Problem* problem) {
  Problem& p = *problem;
  if (Status status = ValidateShape("input", input_shape); !status.ok()) return status;
  if (Status status = ValidateShape("filter", filter_shape); !status.ok()) return status;
  const Positions at = PositionsOf(attributes.layout);
  p.layout = attributes.layout;
  p.batch = input_shape[at.batch];
  p.in_height = input_shape[at.height];
  p.in_width = input_shape[at.width];
  p.in_channels = input_shape[at.channels];
  p.filter_height = filter_shape[0];
  p.filter_width = filter_shape[1];
  p.filter_channels = filter_shape[2];
  p.out_channels = filter_shape[3];
  p.stride_height = attributes.strides[at.height];
  p.stride_width = attributes.strides[at.width];
  p.dilation_height = attributes.dilations[at.height];
  p.dilation_width = attributes.dilations[at.width];

  if (p.filter_channels < 1) return Invalid("filter in_channels must be at least 1, got ", p.filter_channels);
  if (p.in_channels % p.filter_channels != 0) {
    return Invalid("input channels must be a multiple of filter in_channels ", p.filter_channels, ", got ",
                   p.in_channels);
  }
  // An input without channels has one group too, so that nothing divides by zero.
  p.groups = std::max<int64_t>(1, p.in_channels / p.filter_channels);
  if (p.out_channels % p.groups != 0) {
    return Invalid("filter out_channels must be a multiple of the ", p.groups, " groups (input channels ",
                   p.in_channels, " by filter in_channels ", p.filter_channels, "), got ", p.out_channels);
  }
  const Axis height = AxisOf("height", attributes, at.height, p.in_height, p.filter_height);
  const Axis width = AxisOf("width", attributes, at.width, p.in_width, p.filter_width);
  if (Status status = Slide(height, attributes.padding, &p.out_height, &p.pad_top); !status.ok()) return status;
  return Slide(width, attributes.padding, &p.out_width, &p.pad_left);
}

}  // namespace

Status ValidateAttributes(const ConvAttributes& attributes) {
  if (Status status = ValidateSteps("strides", attributes.strides, attributes.layout); !status.ok()) return status;
  if (Status status = ValidateSteps("dilations", attributes.dilations, attributes.layout); !status.ok()) return status;
  return ValidatePaddings(attributes);
}

Status OutBackpropShape(const ConvAttributes& attributes, const std::vector<int64_t>& input_shape,
                        const std::vector<int64_t>& filter_shape, std::vector<int64_t>* shape) {
  Problem p;
  if (Status status = Derive(attributes, input_shape, filter_shape, &p); !status.ok()) return status;
  const Positions at = PositionsOf(p.layout);
  shape->resize(4);
  (*shape)[at.batch] = p.batch;
  (*shape)[at.height] = p.out_height;
  (*shape)[at.width] = p.out_width;
  (*shape)[at.channels] = p.out_channels;
  return Status();
}

Status MakeProblem(DataType dtype, const ConvAttributes& attributes, const std::vector<int64_t>& input_shape,
                   const std::vector<int64_t>& filter_shape, const std::vector<int64_t>& out_backprop_shape,
                   Problem* problem) {
  Problem& p = *problem;
  p.dtype = dtype;
  if (Status status = Derive(attributes, input_shape, filter_shape, &p); !status.ok()) return status;
  if (Status status = ValidateShape("out_backprop", out_backprop_shape); !status.ok()) return status;
  const auto check = [&](const char* dimension, int64_t expected, int position) {
    const int64_t got = out_backprop_shape[position];
    if (got == expected) return Status();
    return Invalid("out_backprop ", dimension, " must be ", expected, ", got ", got, " (input ", ToString(input_shape),
                   ", filter ", ToString(filter_shape), ", strides ", ToString(attributes.strides), ", dilations ",
                   ToString(attributes.dilations), ", padding ", kPaddingNames[static_cast<int>(attributes.padding)],
                   attributes.explicit_paddings.empty() ? "" : " " + ToString(attributes.explicit_paddings), ", ",
                   attributes.layout == Layout::kNHWC ? "NHWC" : "NCHW", ")");
  };
  const Positions at = PositionsOf(p.layout);
  if (Status status = check("batch", p.batch, at.batch); !status.ok()) return status;
  if (Status status = check("height", p.out_height, at.height); !status.ok()) return status;
  if (Status status = check("width", p.out_width, at.width); !status.ok()) return status;
  return check("channels", p.out_channels, at.channels);
}

int64_t ElementSize(DataType dtype) {
  switch (dtype) {
    case DataType::kFloat16:
    case DataType::kBFloat16:
      return 2;
    case DataType::kFloat32:
      return 4;
    case DataType::kFloat64:
      return 8;
  }
  return 0;
}

const char* Name(DataType dtype) {
  switch (dtype) {
    case DataType::kFloat16:
      return "float16";
    case DataType::kBFloat16:
      return "bfloat16";
    case DataType::kFloat32:
      return "float32";
    case DataType::kFloat64:
      return "float64";
  }
  return "";
}

}  // namespace wgrad

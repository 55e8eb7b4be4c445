#include "tests/fuzz/draw_problem.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <vector>

namespace {

using namespace wgrad;

// One spatial axis.
struct Axis {
  int64_t filter, stride, dilation;
  int64_t pad_before, pad_after;  // explicit
  int64_t beyond;                 // how much larger the image is than the least that fits
};

Axis DrawAxis(Bytes* bytes, Padding padding) {
  Axis axis = {};
  if (bytes->Next() % 2 == 0) {
    axis.filter = bytes->OneOf<int64_t>({3, 3, 3, 1});
    axis.stride = bytes->OneOf<int64_t>({1, 1, 1, 2});
    axis.dilation = bytes->OneOf<int64_t>({1, 1, 2, 5});
  } else {
    axis.filter = bytes->Between(1, 8);
    axis.stride = bytes->Between(1, 5);
    axis.dilation = bytes->Between(1, 6);
  }
  if (padding == Padding::kExplicit) {
    const int64_t most = bytes->OneOf<int64_t>({1, 4, 40});
    axis.pad_before = bytes->Between(0, most);
    axis.pad_after = bytes->Between(0, most);
  }
  axis.beyond = bytes->Between(0, bytes->OneOf<int64_t>({8, 40, 120}));
  return axis;
}

int64_t ImageSize(const Axis& axis, Padding padding) {
  const int64_t span = (axis.filter - 1) * axis.dilation + 1;
  const int64_t least = padding == Padding::kSame ? 1 : span - axis.pad_before - axis.pad_after;
  return std::max<int64_t>(1, least) + axis.beyond;
}

std::vector<int64_t> Ordered(Layout layout, int64_t n, int64_t h, int64_t w, int64_t c) {
  return layout == Layout::kNHWC ? std::vector<int64_t>{n, h, w, c} : std::vector<int64_t>{n, c, h, w};
}

int64_t DrawChannels(Bytes* bytes) {
  return bytes->OneOf<int64_t>({1, 2, 3, 4, 5, 7, 8, 12, 15, 16, 17, 24, 31, 32, 33, 48, 64, 65, 130, 300});
}

}  // namespace

Problem DrawProblem(Bytes* bytes) {
  const auto dtype = static_cast<DataType>(bytes->Between(0, 3));
  ConvAttributes attributes;
  attributes.layout = static_cast<Layout>(bytes->Between(0, 1));
  attributes.padding = static_cast<Padding>(bytes->Between(0, 2));
  Axis height = DrawAxis(bytes, attributes.padding);
  Axis width = bytes->Next() % 2 == 0 ? height : DrawAxis(bytes, attributes.padding);
  int64_t groups = bytes->OneOf<int64_t>({1, 1, 1, 1, 2, 3, 8, 17, 40});
  int64_t group_channels = DrawChannels(bytes), group_filters = DrawChannels(bytes);
  if (groups >= 8 && bytes->Next() % 2 == 0) group_channels = group_filters = 1;
  int64_t batch = bytes->Between(1, 5);

  attributes.strides = Ordered(attributes.layout, 1, height.stride, width.stride, 1);
  attributes.dilations = Ordered(attributes.layout, 1, height.dilation, width.dilation, 1);
  if (attributes.padding == Padding::kExplicit) {
    attributes.explicit_paddings.assign(8, 0);
    const int h = attributes.layout == Layout::kNHWC ? 2 : 4;
    attributes.explicit_paddings[h] = height.pad_before;
    attributes.explicit_paddings[h + 1] = height.pad_after;
    attributes.explicit_paddings[h + 2] = width.pad_before;
    attributes.explicit_paddings[h + 3] = width.pad_after;
  }
  double most_flops = bytes->OneOf({1e4, 1e5, 1e5, 1e6, 1e6, 8e6});
  std::vector<int64_t*> sizes = {&height.beyond, &width.beyond, &groups, &group_channels, &group_filters};
  if (bytes->Next() >= 240) {
    width.beyond += 1100 * width.stride;  // rows that are taken in parts
    sizes = {&height.beyond, &groups, &group_channels, &group_filters};
    most_flops = 8e6;
  }
  for (;;) {
    const auto input = Ordered(attributes.layout, batch, ImageSize(height, attributes.padding),
                               ImageSize(width, attributes.padding), groups * group_channels);
    const std::vector<int64_t> filter = {height.filter, width.filter, group_channels, groups * group_filters};
    std::vector<int64_t> out_backprop;
    Problem problem;
    Status status = ValidateAttributes(attributes);
    if (status.ok()) status = OutBackpropShape(attributes, input, filter, &out_backprop);
    if (status.ok()) status = MakeProblem(dtype, attributes, input, filter, out_backprop, &problem);
    if (!status.ok()) {
      std::cerr << "refused: " << status.message() << "\n";
      std::abort();
    }
    int64_t* largest = &batch;
    for (int64_t* size : sizes) {
      if (*size > *largest) largest = size;
    }
    if (DirectFlops(problem) <= most_flops || *largest == 1) return problem;
    *largest /= 2;
  }
}

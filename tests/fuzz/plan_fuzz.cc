// Any request for a plan is refused with a reason or gives a plan within the bounds, and the shape that
// OutBackpropShape names is the only one that MakeProblem accepts.
#include <algorithm>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/engine/problems.h"
#include "tests/fuzz/bytes.h"
#include "tests/fuzz/check_input.h"
#include "tf_ops/wgrad/c_api.h"
#include "tf_ops/wgrad/cpu/plan.h"
#include "tf_ops/wgrad/problem.h"

namespace {

using namespace wgrad;

int64_t refused = 0, planned[std::size(kAlgorithmNames)];

WgradRequest DrawRequest(Bytes* bytes) {
  WgradRequest request = {};
  // Enumerators that do not exist are rare, or most requests would end there.
  const auto enumerator = [&](int last) {
    return static_cast<int32_t>(bytes->Next() >= 250 ? bytes->Any() : bytes->Between(0, last));
  };
  request.dtype = enumerator(3);
  request.layout = enumerator(1);
  request.padding = enumerator(2);
  request.num_explicit_paddings = request.padding == static_cast<int32_t>(Padding::kExplicit) ? 8 : 0;
  if (bytes->Next() == 255) request.num_explicit_paddings = static_cast<int32_t>(bytes->Any());
  const bool nhwc = request.layout == static_cast<int32_t>(Layout::kNHWC);
  for (int i = 0; i < 4; ++i) {
    // Most requests are right about the dimensions that must not be touched.
    const bool spatial = nhwc ? i == 1 || i == 2 : i >= 2;
    const bool touch = spatial || bytes->Next() == 255;
    request.input_shape[i] = bytes->Any();
    request.filter_shape[i] = bytes->Any();
    request.strides[i] = touch ? bytes->Any() : 1;
    request.dilations[i] = touch ? bytes->Any() : 1;
    for (int side : {2 * i, 2 * i + 1}) request.explicit_paddings[side] = touch ? bytes->Any() : 0;
  }
  // Most inputs have a whole number of groups.
  const int channels = nhwc ? 3 : 1;
  if (bytes->Next() % 4 != 0) {
    const int64_t groups = bytes->OneOf<int64_t>({1, 1, 2, 17});
    __builtin_mul_overflow(groups, request.filter_shape[2], &request.input_shape[channels]);
    __builtin_mul_overflow(groups, request.filter_shape[3], &request.filter_shape[3]);
  }
  return request;
}

ConvAttributes AttributesOf(const WgradRequest& request) {
  ConvAttributes attributes;
  attributes.strides.assign(request.strides, request.strides + 4);
  attributes.dilations.assign(request.dilations, request.dilations + 4);
  attributes.padding = static_cast<Padding>(request.padding);
  attributes.explicit_paddings.assign(request.explicit_paddings,
                                      request.explicit_paddings + request.num_explicit_paddings);
  attributes.layout = static_cast<Layout>(request.layout);
  return attributes;
}

bool Exists(const WgradRequest& request) {
  const auto is_in = [](int32_t value, int32_t last) { return value >= 0 && value <= last; };
  return is_in(request.dtype, 3) && is_in(request.layout, 1) && is_in(request.padding, 2) &&
         is_in(request.num_explicit_paddings, 8);
}

bool Fail(const Problem& problem, const std::string& what) {
  std::cerr << Describe(problem) << ": " << what << "\n";
  return false;
}

// What docs/architecture.md allows all threads together, at most: dW's sums, each group's filled up to whole vectors,
// and dW itself where X and dY change places; partial sums of 16 MiB; Winograd's transforms of 12 MiB, or of one tile.
double MostSharedBytes(const Problem& p) {
  const auto filled = [](double channels) { return channels + 16; };
  const double sum_size = p.dtype == DataType::kFloat64 ? 8 : 4;
  const double taps = static_cast<double>(p.filter_height) * static_cast<double>(p.filter_width);
  const auto in = static_cast<double>(p.in_channels), out = static_cast<double>(p.out_channels);
  const auto groups = static_cast<double>(p.groups), group_in = static_cast<double>(p.filter_channels);
  const double sums = taps * std::max(group_in * groups * filled(out / groups), out * filled(group_in)) * sum_size;
  constexpr double kTilePoints = 81;
  const double tile = kTilePoints * groups * (filled(in / groups) + filled(out / groups)) * sum_size;
  return 2 * sums + std::max(tile, 12.0 * (1 << 20)) + 16.0 * (1 << 20);
}

// A plan of what is a problem keeps to its bounds, or is refused because the algorithm was forced.
bool CheckPlan(const Problem& problem, Algorithm algorithm, const std::string& json) {
  Plan plan;
  const Status status = MakePlan(problem, algorithm, BestIsa(), &plan);
  if (status.ok() != (json.rfind("{\"algorithm\"", 0) == 0)) return Fail(problem, "the plan is " + json);
  if (!status.ok()) return algorithm != Algorithm::kAuto || Fail(problem, "no plan: " + status.message());
  ++planned[static_cast<int>(plan.algorithm)];
  if (plan.worker_bytes > 16 << 20) return Fail(problem, std::to_string(plan.worker_bytes) + " bytes for a worker");
  if (static_cast<double>(plan.shared_bytes) > MostSharedBytes(problem)) {
    return Fail(problem, std::to_string(plan.shared_bytes) + " bytes for all workers");
  }
  if (plan.tasks < 1) return Fail(problem, std::to_string(plan.tasks) + " tasks");
  return true;
}

}  // namespace

bool CheckInput(const uint8_t* data, size_t size) {
  Bytes bytes(data, size);
  const WgradRequest request = DrawRequest(&bytes);
  const auto algorithm = static_cast<Algorithm>(bytes.Between(0, std::size(kAlgorithmNames) - 1));
  const std::string json = wgrad_plan(&request, Name(algorithm));

  Problem problem;
  Status status = InvalidArgument("");
  std::vector<int64_t> out_backprop_shape;
  const std::vector<int64_t> input_shape(request.input_shape, request.input_shape + 4);
  const std::vector<int64_t> filter_shape(request.filter_shape, request.filter_shape + 4);
  if (Exists(request)) {
    const ConvAttributes attributes = AttributesOf(request);
    const auto dtype = static_cast<DataType>(request.dtype);
    status = ValidateAttributes(attributes);
    if (status.ok()) status = OutBackpropShape(attributes, input_shape, filter_shape, &out_backprop_shape);
    if (status.ok()) {
      status = MakeProblem(dtype, attributes, input_shape, filter_shape, out_backprop_shape, &problem);
      std::vector<int64_t> other = out_backprop_shape;
      other[bytes.Between(0, 3)] += bytes.OneOf({-1, 1});
      Problem ignored;
      if (MakeProblem(dtype, attributes, input_shape, filter_shape, other, &ignored).ok()) {
        return Fail(ignored, "accepted with another out_backprop");
      }
    }
  }
  if (status.ok()) return CheckPlan(problem, algorithm, json);
  ++refused;
  if (json.rfind("{\"error\": \"", 0) == 0) return true;
  std::cerr << "planned what is not a problem: " << status.message() << "\n" << json << "\n";
  return false;
}

std::string Reached() {
  std::string text = std::to_string(refused) + " refused";
  for (size_t i = 1; i < std::size(planned); ++i) {
    text += ", " + std::to_string(planned[i]) + " planned for " + kAlgorithmNames[i];
  }
  return text;
}

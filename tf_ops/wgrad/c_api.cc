#include "tf_ops/wgrad/c_api.h"

#include <string>
#include <vector>

#include "tf_ops/wgrad/cpu/algorithm.h"
#include "tf_ops/wgrad/cpu/plan.h"
#include "tf_ops/wgrad/json.h"
#include "tf_ops/wgrad/problem.h"
#include "tf_ops/wgrad/process_state.h"
#include "tf_ops/wgrad/status.h"

namespace wgrad {
namespace {

Status ValidateEnumerator(const char* name, int32_t value, int32_t last) {
  if (value >= 0 && value <= last) return Status();
  return InvalidArgument(std::string(name) + " must be in [0, " + std::to_string(last) + "], got " +
                         std::to_string(value));
}

Status PlannedProblem(const WgradRequest& request, Problem* problem) {
  Status status = ValidateEnumerator("dtype", request.dtype, static_cast<int32_t>(DataType::kFloat64));
  if (!status.ok()) return status;
  status = ValidateEnumerator("layout", request.layout, static_cast<int32_t>(Layout::kNCHW));
  if (!status.ok()) return status;
  status = ValidateEnumerator("padding", request.padding, static_cast<int32_t>(Padding::kExplicit));
  if (!status.ok()) return status;
  if (request.num_explicit_paddings < 0 || request.num_explicit_paddings > 8) {
    return InvalidArgument("explicit_paddings must have at most 8 values, got " +
                           std::to_string(request.num_explicit_paddings));
  }
  ConvAttributes attributes;
  attributes.strides.assign(request.strides, request.strides + 4);
  attributes.dilations.assign(request.dilations, request.dilations + 4);
  attributes.padding = static_cast<Padding>(request.padding);
  attributes.explicit_paddings.assign(request.explicit_paddings,
                                      request.explicit_paddings + request.num_explicit_paddings);
  attributes.layout = static_cast<Layout>(request.layout);
  status = ValidateAttributes(attributes);
  if (!status.ok()) return status;
  const std::vector<int64_t> input_shape(request.input_shape, request.input_shape + 4);
  const std::vector<int64_t> filter_shape(request.filter_shape, request.filter_shape + 4);
  std::vector<int64_t> out_backprop_shape;
  status = OutBackpropShape(attributes, input_shape, filter_shape, &out_backprop_shape);
  if (!status.ok()) return status;
  return MakeProblem(static_cast<DataType>(request.dtype), attributes, input_shape, filter_shape, out_backprop_shape,
                     problem);
}

std::string PlanJson(const WgradRequest& request, const char* name) {
  Algorithm algorithm;
  Status status;
  if (name == nullptr) {
    status = RequestedAlgorithm(&algorithm);
  } else if (!ParseAlgorithm(name, &algorithm)) {
    status = InvalidArgument(std::string("unknown algorithm ") + name);
  }
  Problem problem;
  if (status.ok()) status = PlannedProblem(request, &problem);
  return status.ok() ? ExplainPlan(problem, algorithm) : JsonObject().Add("error", status.message()).str();
}

std::string RunCountsJson() {
  JsonObject counts;
  for (const auto& [name, count] : RunCounts()) counts.Add(name, count);
  return counts.str();
}

}  // namespace
}  // namespace wgrad

const char* wgrad_plan(const WgradRequest* request, const char* algorithm) {
  thread_local std::string json;
  json = wgrad::PlanJson(*request, algorithm);
  return json.c_str();
}

const char* wgrad_describe_cpu(void) {
  thread_local std::string json;
  json = wgrad::DescribeCpu();
  return json.c_str();
}

const char* wgrad_run_counts(void) {
  thread_local std::string json;
  json = wgrad::RunCountsJson();
  return json.c_str();
}

void wgrad_reset_run_counts(void) { wgrad::ResetRunCounts(); }

int wgrad_set_algorithm(const char* name) {
  wgrad::Algorithm algorithm;
  if (!wgrad::ParseAlgorithm(name, &algorithm)) return 0;
  wgrad::SetAlgorithm(algorithm);
  return 1;
}

const char* wgrad_get_algorithm(void) {
  thread_local std::string name;
  name = wgrad::RequestedAlgorithmName();
  return name.c_str();
}

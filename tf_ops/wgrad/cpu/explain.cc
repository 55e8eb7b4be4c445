// What plan.h promises to people: plans and processors as JSON.
#include <string>

#include "tf_ops/wgrad/cpu/caches.h"
#include "tf_ops/wgrad/cpu/direct.h"
#include "tf_ops/wgrad/cpu/plan.h"
#include "tf_ops/wgrad/json.h"

namespace wgrad {
namespace {

std::string Blocking(const DirectPlan& d) {
  return JsonObject()
      .Add("bf16_pairs", d.bf16_pairs)
      .Add("a_in_place", d.a_in_place)
      .Add("sums_in_place", d.in_place)
      .Add("slice_rows", d.slice_rows)
      .Add("pack_rows", d.pack_rows)
      .Add("column_block", d.column_block)
      .Add("group_block", d.group_block)
      .Add("depth_block", d.depth_block)
      .Add("depth_slices", d.depth_slices)
      .str();
}

std::string Blocking(const StripDirectPlan& s) {
  return JsonObject()
      .Add("fuse_columns", s.fuse_columns)
      .Add("bf16_pairs", s.bf16_pairs)
      .Add("dy_in_place", s.dy_in_place)
      .Add("strip_rows", s.strip_rows)
      .Add("panel_channels", s.panel_channels)
      .Add("channel_block", s.channel_block)
      .Add("column_block", s.column_block)
      .Add("group_block", s.group_block)
      .Add("depth_slices", s.depth_slices)
      .str();
}

std::string Blocking(const PointwisePlan& w, int64_t bundled_pixels) {
  return JsonObject()
      .Add("bundled_pixels", bundled_pixels)
      .Add("staged", w.staged)
      .Add("bf16_pairs", w.bf16_pairs)
      .Add("waits_for_memory", w.waits_for_memory)
      .Add("sums_in_cache", w.sums_in_cache)
      .Add("sums_in_place", w.in_place)
      .Add("depth_block", w.depth_block)
      .Add("blocks_per_slice", w.blocks_per_slice)
      .Add("depth_slices", w.depth_slices)
      .Add("parts", w.parts)
      .str();
}

std::string Blocking(const DirectInPlacePlan& d) {
  return JsonObject()
      .Add("shared_vectors", d.shared_vectors)
      .Add("staged", d.staged)
      .Add("bf16_pairs", d.bf16_pairs)
      .Add("sums_in_place", d.in_place)
      .Add("bundles", d.bundles)
      .Add("strip_images", d.strip_images)
      .Add("strip_rows", d.strip_rows)
      .Add("depth_slices", d.depth_slices)
      .str();
}

std::string Blocking(const WinogradPlan& w) {
  return JsonObject()
      .Add("shared_transforms", w.shared_transforms)
      .Add("sums_in_place", w.in_place)
      .Add("rounded", w.rounded)
      .Add("tiles_of_4_height", w.tiling.height.large)
      .Add("tiles_of_3_height", w.tiling.height.small)
      .Add("tiles_of_4_width", w.tiling.width.large)
      .Add("tiles_of_3_width", w.tiling.width.small)
      .Add("points", w.tiling.points())
      .Add("sums", w.tiling.sums())
      .Add("bundle_groups", w.bundle_groups)
      .Add("bundles_per_task", w.bundles_per_task)
      .Add("tiles", w.tiles)
      .Add("chunk_tiles", w.chunk_tiles)
      .Add("partial_sums", w.partial_sums)
      .Add("row_block", w.row_block)
      .Add("column_block", w.column_block)
      .str();
}

std::string Blocking(const DepthwisePlan& d) {
  return JsonObject()
      .Add("windows", d.windows)
      .Add("window_pixels", d.window_pixels)
      .Add("window_rows", d.window_rows)
      .Add("whole_rows", d.whole_rows)
      .Add("column_block", d.column_block)
      .Add("strip_columns", d.strip_columns)
      .Add("strips_per_task", d.strips_per_task)
      .Add("depth_slices", d.depth_slices)
      .str();
}

std::string Blocking(const ThinGroupsPlan& t) {
  return JsonObject()
      .Add("column_block", t.column_block)
      .Add("strip_rows", t.strip_rows)
      .Add("run_rows", t.run_rows)
      .Add("depth_slices", t.depth_slices)
      .str();
}

std::string Blocking(const Problem& problem, const Plan& plan) {
  switch (plan.algorithm) {
    case Algorithm::kDirect:
      if (plan.in_place) {
        return IsPointwise(problem) ? Blocking(plan.pointwise, plan.bundled_pixels) : Blocking(plan.direct_in_place);
      }
      return plan.strips ? Blocking(plan.strip_direct) : Blocking(plan.direct);
    case Algorithm::kWinograd:
      return Blocking(plan.winograd);
    case Algorithm::kDepthwise:
      return plan.strips ? Blocking(plan.thin_groups) : Blocking(plan.depthwise);
    default:
      return "{}";
  }
}

}  // namespace

std::string ExplainPlan(const Problem& problem, Algorithm algorithm) {
  Plan plan;
  std::string declined;
  const auto note = [&](Algorithm candidate, const char* reason) {
    if (!declined.empty()) declined += ", ";
    declined += JsonObject().Add("algorithm", Name(candidate)).Add("reason", reason).str();
  };
  const Status status = MakePlan(problem, algorithm, BestIsa(), &plan, note);
  if (!status.ok()) return JsonObject().Add("error", status.message()).str();
  return JsonObject()
      .Add("algorithm", Name(plan.algorithm))
      .Add("reason", plan.reason)
      .Add("isa", plan.isa->name)
      .Add("transpose", plan.transpose)
      .AddJson("blocking", Blocking(problem, plan))
      .AddJson("workspace_bytes", JsonObject()
                                      .Add("shared", static_cast<int64_t>(plan.shared_bytes))
                                      .Add("per_worker", static_cast<int64_t>(plan.worker_bytes))
                                      .str())
      .Add("tasks", plan.tasks)
      .AddJson("declined", "[" + declined + "]")
      .str();
}

std::string DescribeCpu() {
  const Isa& isa = BestIsa();
  return JsonObject()
      .Add("isa", isa.name)
      .Add("vector_bits", int64_t{isa.vector_bytes} * 8)
      .Add("l1d_bytes", ThisCaches().l1d)
      .Add("l2_bytes", ThisCaches().l2)
      .Add("l3_bytes", ThisCaches().l3)
      .str();
}

}  // namespace wgrad

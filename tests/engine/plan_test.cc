// Which algorithm the planner takes for which problem, and that it never asks for too much memory.
#include "tf_ops/wgrad/cpu/plan.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tests/engine/check.h"
#include "tests/engine/problems.h"
#include "tests/engine/wide.h"
#include "tf_ops/wgrad/cpu/pointwise.h"

namespace {

using namespace wgrad;

Plan PlanOf(const Problem& problem, Algorithm algorithm = Algorithm::kAuto) {
  Plan plan;
  const Status status = MakePlan(problem, algorithm, Portable(), &plan);
  if (!status.ok()) plan.algorithm = Algorithm::kAuto;
  return plan;
}

std::string Chosen(const Problem& problem) { return Name(PlanOf(problem).algorithm); }

void TestTileCut() {
  const auto check = [](int64_t pixels, int64_t large, int64_t small) {
    const TileCut cut = CutIntoTiles(pixels);
    CHECK_EQ(cut.large, large);
    CHECK_EQ(cut.small, small);
  };
  check(1, 0, 1);
  check(2, 0, 1);
  check(4, 1, 0);
  check(5, 0, 2);
  check(6, 0, 2);
  check(7, 1, 1);
  check(9, 0, 3);
  check(10, 1, 2);
  check(14, 2, 2);
  check(56, 14, 0);
  CHECK_EQ(CutIntoTiles(14).products(1), 22);
  CHECK_EQ(CutIntoTiles(14).products(2), 32);
}

// Each pixel lies in one tile, and a point's range holds the tiles that are large enough to have it.
void TestTiling() {
  for (const int64_t stride : {1, 2}) {
    for (const auto& [height, width] : {std::pair{7, 14}, {9, 4}, {8, 5}, {1, 10}}) {
      const Tiling tiling = {stride, 2, 3, 2, CutIntoTiles(height), CutIntoTiles(width)};
      std::vector<int> seen(tiling.phases() * height * width);
      int64_t products = 0;
      for (int64_t i = 0; i < tiling.tiles(); ++i) {
        const Tile tile = tiling.Find(i);
        const int rows = tile.kind.tall ? kLargeSide : kSmallSide, columns = tile.kind.wide ? kLargeSide : kSmallSide;
        for (int64_t row = tile.row; row < std::min<int64_t>(height, tile.row + rows); ++row) {
          for (int64_t column = tile.column; column < std::min<int64_t>(width, tile.column + columns); ++column) {
            const int64_t phase = (tile.image * 3 + tile.phase_height) * 2 + tile.phase_width;
            ++seen[(phase * height + row) * width + column];
          }
        }
        products += TilePoints(stride, rows) * TilePoints(stride, columns);
      }
      CHECK_TRUE(std::all_of(seen.begin(), seen.end(), [](int times) { return times == 1; }));
      CHECK_EQ(tiling.products(), products);
      for (int64_t point = 0; point < tiling.points(); ++point) {
        const Range with_point = tiling.TilesWith(point);
        products -= with_point.end - with_point.begin;
        CHECK_LE(0, tiling.SumOf(point));
        CHECK_LE(tiling.SumOf(point) + 1, tiling.sums());
        for (int64_t i = with_point.begin; i < with_point.end; ++i) {
          const TileKind kind = tiling.Find(i).kind;
          const int64_t columns = tiling.width.points(stride);
          CHECK_TRUE(kind.tall || point / columns >= tiling.height.large_points(stride));
          CHECK_TRUE(kind.wide || point % columns >= tiling.width.large_points(stride));
        }
      }
      CHECK_EQ(products, 0);
    }
  }
}

void TestChoice() {
  CHECK_EQ(Chosen(Square(8, 56, 64, 64, 3, 1, 1, 1, 1)), "winograd");
  CHECK_EQ(Chosen(Square(8, 7, 512, 512, 3, 1, 1, 1, 1)), "winograd");
  CHECK_EQ(Chosen(Square(2, 28, 256, 256, 3, 1, 2, 2, 1)), "winograd");
  // Dilated so far that tiles of the phases are mostly empty, and turned into taps chunk by chunk: 2.5 times as slow as
  // directly.
  CHECK_EQ(Chosen(Square(8, 33, 2048, 256, 3, 1, 2, 2, 1)), "winograd");
  CHECK_EQ(Chosen(Square(8, 33, 2048, 256, 3, 1, 6, 6, 1)), "winograd");
  CHECK_EQ(Chosen(Square(8, 33, 2048, 256, 3, 1, 12, 12, 1)), "winograd");
  CHECK_EQ(Chosen(Square(8, 33, 2048, 256, 3, 1, 18, 18, 1)), "direct");
  // Too few channels: 1.2 to 1.8 times as slow as directly.
  CHECK_EQ(Chosen(Square(8, 224, 3, 64, 3, 1, 1, 1, 1)), "direct");
  CHECK_EQ(Chosen(Square(8, 112, 4, 64, 3, 1, 1, 1, 1)), "direct");
  CHECK_EQ(Chosen(Square(8, 112, 8, 64, 3, 1, 1, 1, 1)), "winograd");
  // Too few pixels to pay for the transforms.
  CHECK_EQ(Chosen(Square(1, 7, 64, 64, 3, 1, 1, 1, 1)), "direct");
  CHECK_EQ(Chosen(Square(8, 56, 64, 64, 1, 1, 1, 0, 1)), "direct");
  CHECK_EQ(Chosen(Square(8, 56, 128, 128, 3, 2, 1, 1, 1)), "winograd");
  CHECK_EQ(Chosen(Square(8, 28, 256, 256, 3, 2, 1, 1, 1)), "winograd");
  CHECK_EQ(Chosen(Square(1, 28, 256, 256, 3, 2, 1, 1, 1)), "direct");
  CHECK_EQ(Chosen(Square(8, 56, 128, 128, 3, 3, 1, 1, 1)), "direct");
  CHECK_EQ(Chosen(Square(8, 56, 32, 32, 3, 1, 1, 1, 32)), "depthwise");
  // Groups, where they are wide enough to pay for the transforms.
  CHECK_EQ(Chosen(Square(8, 56, 64, 64, 3, 1, 1, 1, 2)), "winograd");
  CHECK_EQ(Chosen(Square(8, 14, 512, 512, 3, 1, 1, 1, 32)), "winograd");
  CHECK_EQ(Chosen(Square(8, 14, 512, 512, 3, 2, 1, 1, 32)), "direct");
  // Two channels and filters to a group, but not one.
  CHECK_EQ(Chosen(Square(8, 28, 64, 64, 3, 1, 1, 1, 32)), "depthwise");
  CHECK_EQ(Chosen(Square(8, 56, 64, 128, 3, 1, 1, 1, 64)), "depthwise");
  CHECK_EQ(Chosen(Square(1, 7, 512, 512, 3, 1, 1, 1, 32)), "direct");
  Problem empty = Square(8, 56, 64, 64, 3, 1, 1, 1, 1);
  empty.batch = 0;
  CHECK_EQ(Chosen(empty), "reference");

  // In place where each channel is a group of its own and they fill a vector, on strips for other thin groups.
  CHECK_TRUE(!PlanOf(Square(8, 56, 32, 32, 3, 1, 1, 1, 32)).strips);
  CHECK_TRUE(PlanOf(Square(8, 56, 32, 64, 3, 1, 1, 1, 32)).strips);
  CHECK_TRUE(PlanOf(Square(8, 56, 3, 3, 3, 1, 1, 1, 3)).strips);
  CHECK_EQ(Chosen(Square(8, 56, 3, 3, 3, 1, 1, 1, 3)), "depthwise");
  // Whole rows where a cache holds a window, and none the tensors.
  CHECK_TRUE(PlanOf(Square(8, 112, 96, 96, 3, 2, 1, 1, 96)).depthwise.whole_rows);
  CHECK_TRUE(!PlanOf(Square(8, 7, 960, 960, 3, 1, 1, 1, 960)).depthwise.whole_rows);
  CHECK_TRUE(!PlanOf(Square(1, 28, 192, 192, 3, 1, 1, 1, 192)).depthwise.whole_rows);
  // Rows are cut where a cache would not hold what a whole one sees, and those of signals.
  CHECK_EQ(PlanOf(Square(2, 224, 96, 96, 3, 1, 1, 1, 96)).depthwise.strip_columns, 112);
  CHECK_TRUE(PlanOf(Square(2, 224, 96, 96, 3, 1, 1, 1, 96)).depthwise.whole_rows);
  CHECK_EQ(PlanOf(Square(8, 112, 96, 96, 3, 2, 1, 1, 96)).depthwise.strip_columns, 56);
  CHECK_EQ(PlanOf(Square(8, 28, 1024, 1024, 3, 1, 1, 1, 1024)).depthwise.strip_columns, 28);
  Problem signal = Square(1, 1, 32, 32, 1, 1, 1, 0, 32);
  signal.filter_width = 3;
  signal.in_width = signal.out_width = 60000;
  signal.pad_left = 1;
  CHECK_EQ(PlanOf(signal).depthwise.strip_columns, 320);
  // Windows whose lines stay in the first-level cache, unless that would cut a row too short.
  const auto window = [](const Problem& p) {
    const DepthwisePlan d = PlanOf(p).depthwise;
    return std::to_string(d.window_rows) + "x" + std::to_string(d.window_pixels);
  };
  CHECK_EQ(window(Square(8, 112, 32, 32, 3, 1, 1, 1, 32)), "1x56");
  CHECK_EQ(window(Square(8, 112, 32, 32, 3, 2, 1, 1, 32)), "1x28");
  CHECK_EQ(window(Square(8, 28, 128, 128, 3, 1, 1, 1, 128)), "1x14");
  CHECK_EQ(window(Square(8, 28, 256, 256, 3, 1, 1, 1, 256)), "1x28");
  CHECK_EQ(window(Square(8, 14, 384, 384, 3, 1, 1, 1, 384)), "4x14");
  CHECK_EQ(window(Square(8, 28, 192, 192, 3, 2, 1, 1, 192)), "1x14");
  CHECK_EQ(window(Square(8, 7, 960, 960, 3, 1, 1, 1, 960)), "7x7");
  CHECK_EQ(window(Square(8, 28, 32, 32, 4, 1, 1, 1, 32)), "0x0");
  // Small layers are shared out finely enough for two threads.
  CHECK_EQ(PlanOf(Square(8, 28, 192, 192, 3, 2, 1, 1, 192)).tasks, 5);
  CHECK_EQ(PlanOf(Square(8, 14, 576, 576, 3, 2, 1, 1, 576)).tasks, 6);

  // Patches side by side, if they are wide enough.
  CHECK_TRUE(PlanOf(Square(8, 224, 3, 768, 16, 16, 1, 0, 1)).folded);
  CHECK_TRUE(!PlanOf(Square(8, 224, 3, 96, 4, 4, 1, 0, 1)).folded);
  CHECK_TRUE(!PlanOf(Square(8, 225, 3, 768, 16, 16, 1, 0, 1)).folded);
  CHECK_TRUE(!PlanOf(Square(8, 224, 3, 768, 16, 16, 1, 8, 1)).folded);

  // Strips for few channels, in or out.
  CHECK_TRUE(PlanOf(Square(8, 224, 3, 64, 7, 2, 1, 3, 1)).strip_direct.fuse_columns);
  CHECK_TRUE(PlanOf(Square(8, 56, 256, 256, 3, 2, 1, 1, 32)).strip_direct.fuse_columns);
  CHECK_TRUE(PlanOf(Square(8, 28, 512, 512, 3, 2, 1, 1, 32)).strips);
  CHECK_TRUE(!PlanOf(Square(8, 14, 1024, 1024, 3, 2, 1, 1, 32)).strips);
  CHECK_TRUE(!PlanOf(Square(8, 28, 256, 256, 3, 2, 1, 1, 1)).strips);
  CHECK_TRUE(!PlanOf(Square(8, 56, 64, 64, 1, 1, 1, 0, 1)).strips);
  CHECK_TRUE(PlanOf(Square(8, 56, 256, 64, 1, 1, 1, 0, 1)).direct.a_in_place);
  CHECK_TRUE(!PlanOf(Square(8, 56, 256, 256, 1, 1, 1, 0, 1)).direct.a_in_place);

  // Exchanged for very few filters that see each pixel.
  CHECK_TRUE(PlanOf(Square(8, 56, 32, 2, 3, 1, 1, 1, 1)).exchanged);
  CHECK_TRUE(!PlanOf(Square(8, 56, 2, 2, 1, 1, 1, 0, 1)).exchanged);
  // Pixels that do not fill a vector (here of 4 floats) are bundled, if all of them go into bundles and that saves more
  // than it costs.
  CHECK_EQ(PlanOf(Square(8, 56, 6, 1, 1, 1, 1, 0, 1)).bundled_pixels, 2);
  CHECK_EQ(PlanOf(Square(8, 56, 1, 3, 1, 1, 1, 0, 1)).bundled_pixels, 4);
  CHECK_EQ(PlanOf(Square(1, 7, 1, 3, 1, 1, 1, 0, 1)).bundled_pixels, 1);
  CHECK_EQ(PlanOf(Square(1, 7, 1, 1, 1, 1, 1, 0, 1)).bundled_pixels, 0);
  CHECK_EQ(PlanOf(Square(8, 56, 6, 21, 1, 1, 1, 0, 1)).bundled_pixels, 1);
  CHECK_EQ(PlanOf(Square(8, 56, 45, 45, 1, 1, 1, 0, 1)).bundled_pixels, 0);
  CHECK_EQ(PlanOf(Square(8, 56, 6, 1, 1, 2, 1, 0, 1)).bundled_pixels, 0);
  // Few rows are multiplied where they lie, bundled or not; not where sums are rounded before the diagonal is added.
  CHECK_TRUE(PlanOf(Square(8, 56, 6, 1, 1, 1, 1, 0, 1)).in_place);
  CHECK_TRUE(PlanOf(Square(8, 56, 32, 2, 1, 1, 1, 0, 1)).in_place);
  CHECK_TRUE(!PlanOf(Square(8, 56, 64, 64, 1, 1, 1, 0, 1)).in_place);
  // So is every pixel of moderate size where vectors are wide.
  const auto in_place = [](const Problem& problem) {
    Plan plan;
    CHECK_TRUE(MakePlan(problem, Algorithm::kDirect, Wide(), &plan).ok());
    return plan.in_place;
  };
  CHECK_TRUE(in_place(Square(8, 28, 64, 256, 1, 1, 1, 0, 1)));
  CHECK_TRUE(in_place(Square(8, 28, 64, 250, 1, 1, 1, 0, 1)));
  CHECK_TRUE(!in_place(Square(8, 28, 64, 1 << 20, 1, 1, 1, 0, 1)));
  CHECK_TRUE(in_place(Square(8, 14, 64, 256, 1, 1, 1, 0, 1)));
  CHECK_TRUE(!in_place(Square(8, 7, 64, 256, 1, 1, 1, 0, 1)));
  // In slices that 2 and 4 threads share out evenly.
  const auto slices = [](const Problem& problem) {
    Plan plan;
    CHECK_TRUE(MakePlan(problem, Algorithm::kDirect, Wide(), &plan).ok());
    return plan.pointwise.depth_slices;
  };
  CHECK_EQ(slices(Square(8, 28, 128, 512, 1, 1, 1, 0, 1)), 4);
  CHECK_EQ(slices(Square(8, 14, 96, 576, 1, 1, 1, 0, 1)), 1);
  // And parts, of 512 KiB of sums each, that 2 and 4 threads share out evenly.
  Plan parts;
  parts.isa = &Wide();
  PlanPointwise(Square(8, 14, 256, 1024, 1, 1, 1, 0, 1), Wide(), &parts);
  CHECK_EQ(parts.pointwise.parts, 2);
  PlanPointwise(Square(8, 14, 960, 320, 1, 1, 1, 0, 1), Wide(), &parts);
  CHECK_EQ(parts.pointwise.parts, 4);
  PlanPointwise(Square(8, 28, 512, 128, 1, 1, 1, 0, 1), Wide(), &parts);
  CHECK_EQ(parts.pointwise.parts, 1);
  PlanPointwise(Square(4, 14, 2100, 3995, 1, 1, 1, 0, 1), Wide(), &parts);
  CHECK_EQ(parts.tasks, 128);
  // Large tensors of few products are waited for.
  CHECK_TRUE(PlanOf(Square(8, 256, 64, 1, 1, 1, 1, 0, 1)).pointwise.waits_for_memory);
  CHECK_TRUE(!PlanOf(Square(8, 56, 64, 1, 1, 1, 1, 0, 1)).pointwise.waits_for_memory);
  CHECK_TRUE(!PlanOf(Square(8, 256, 64, 24, 1, 1, 1, 0, 1)).pointwise.waits_for_memory);
  CHECK_TRUE(!in_place(Square(8, 28, 64, 256, 1, 2, 1, 0, 1)));
  // And groups, where they fill vectors by themselves or a vector of X has the channels of one of dY.
  CHECK_TRUE(in_place(Square(8, 28, 512, 512, 3, 2, 1, 1, 32)));
  CHECK_TRUE(in_place(Square(8, 14, 1024, 1024, 3, 2, 1, 1, 32)));
  CHECK_TRUE(in_place(Square(8, 56, 128, 128, 3, 1, 1, 1, 32)));
  CHECK_TRUE(in_place(Square(8, 56, 128, 136, 3, 1, 1, 1, 8)));
  CHECK_TRUE(!in_place(Square(8, 56, 24, 24, 3, 1, 1, 1, 3)));
  // And without groups, where vectors are wide, rows are long enough and a cache holds the sums.
  CHECK_TRUE(in_place(Square(8, 28, 32, 96, 5, 1, 1, 2, 1)));
  CHECK_TRUE(in_place(Square(8, 28, 4, 24, 3, 1, 1, 1, 1)));
  CHECK_TRUE(!in_place(Square(8, 28, 3, 24, 3, 1, 1, 1, 1)));
  CHECK_TRUE(!in_place(Square(8, 28, 28, 15, 5, 1, 1, 2, 1)));
  CHECK_TRUE(in_place(Square(8, 28, 32, 15, 5, 1, 1, 2, 1)));  // the exchanged problem
  CHECK_TRUE(!in_place(Square(8, 5, 32, 96, 5, 1, 1, 2, 1)));
  CHECK_TRUE(in_place(Square(8, 5, 32, 32, 5, 1, 1, 2, 1)));
  CHECK_TRUE(!in_place(Square(8, 5, 256, 32, 3, 1, 1, 1, 1)));
  CHECK_TRUE(!in_place(Square(8, 28, 512, 1024, 5, 1, 1, 2, 1)));
  CHECK_TRUE(!in_place(Square(8, 28, 32, 64, 1, 2, 1, 0, 1)));
  CHECK_TRUE(in_place(Square(8, 56, 96, 192, 2, 2, 1, 0, 1)));
  CHECK_TRUE(!in_place(Square(8, 56, 64, 2, 3, 1, 1, 1, 1)));
  CHECK_TRUE(!in_place(Square(8, 224, 12, 768, 16, 16, 1, 0, 1)));
  Plan groups;
  CHECK_TRUE(MakePlan(Square(8, 14, 512, 512, 3, 1, 1, 1, 32), Algorithm::kDirect, Wide(), &groups).ok());
  CHECK_TRUE(groups.in_place);
  CHECK_EQ(groups.direct_in_place.strip_rows, 14);
  for (const Problem& wide_groups :
       {Square(8, 14, 512, 512, 3, 1, 1, 1, 32), Square(8, 7, 1024, 1024, 3, 1, 1, 1, 32)}) {
    CHECK_TRUE(MakePlan(wide_groups, Algorithm::kAuto, Wide(), &groups).ok());
    CHECK_EQ(Name(groups.algorithm), "winograd");
  }
  Problem half = Square(8, 56, 6, 1, 1, 1, 1, 0, 1);
  half.dtype = DataType::kFloat16;
  CHECK_EQ(PlanOf(half).bundled_pixels, 0);
  CHECK_TRUE(!PlanOf(Square(8, 56, 32, 2, 1, 2, 1, 0, 1)).exchanged);
  CHECK_TRUE(PlanOf(Square(8, 56, 32, 2, 3, 1, 1, 1, 1)).exchanged);
  CHECK_TRUE(PlanOf(Square(8, 56, 32, 2, 9, 1, 1, 4, 1)).strips);
  CHECK_TRUE(!PlanOf(Square(8, 56, 32, 2, 3, 1, 1, 3, 1)).exchanged);
  CHECK_TRUE(!PlanOf(Square(8, 56, 32, 2, 31, 1, 1, 0, 1)).exchanged);

  // Groups too thin for a vector of the widest are bundled.
  Plan bundled;
  CHECK_TRUE(MakePlan(Square(8, 56, 128, 128, 3, 1, 1, 1, 32), Algorithm::kWinograd, Wide(), &bundled).ok());
  CHECK_EQ(bundled.winograd.bundle_groups, Wide().f32.lanes / 4);
  CHECK_EQ(bundled.winograd.rows, Wide().f32.lanes);
}

// Vectors half as wide for groups that leave half of a vector empty.
void TestHalfAsWide() {
  Isa wide = Wide();
  wide.half_as_wide = &Portable();
  const auto halves = [&wide](Problem problem, DataType dtype) {
    problem.dtype = dtype;
    Plan plan;
    CHECK_TRUE(MakePlan(problem, Algorithm::kAuto, wide, &plan).ok());
    return plan.isa == &Portable();
  };
  const int64_t lanes = wide.f32.lanes;
  const auto groups_of = [](int64_t filters, int64_t channels = 20) {
    return Square(8, 28, 32 * channels, 32 * filters, 3, 1, 1, 1, 32);
  };
  CHECK_TRUE(halves(groups_of(lanes / 2), DataType::kFloat32));
  CHECK_TRUE(!halves(groups_of(lanes / 2, lanes / 2), DataType::kFloat32));  // several share a vector in place
  CHECK_TRUE(!halves(groups_of(lanes / 2 + 1), DataType::kFloat32));
  CHECK_TRUE(!halves(groups_of(lanes / 2), DataType::kFloat64));
  CHECK_TRUE(!halves(groups_of(lanes / 2), DataType::kBFloat16));
  CHECK_TRUE(!halves(groups_of(1, 1), DataType::kFloat32));
  CHECK_TRUE(!halves(Square(8, 28, 64, lanes / 2, 3, 1, 1, 1, 1), DataType::kFloat32));
  // And for pixels of few channels that fill them.
  CHECK_TRUE(halves(Square(8, 28, 24, 3 * lanes / 2, 1, 1, 1, 0, 1), DataType::kFloat32));
  CHECK_TRUE(!halves(Square(8, 28, 24, 2 * lanes, 1, 1, 1, 0, 1), DataType::kFloat32));
  CHECK_TRUE(!halves(Square(8, 28, 24, 3 * lanes / 2, 1, 2, 1, 0, 1), DataType::kFloat32));
  CHECK_TRUE(!halves(Square(8, 28, 24, 3 * lanes / 2, 1, 1, 1, 0, 1), DataType::kBFloat16));
}

void TestPairs() {
  const auto multiplies_pairs = [](Problem problem, DataType dtype, const Isa& isa) {
    problem.dtype = dtype;
    Plan plan;
    CHECK_TRUE(MakePlan(problem, Algorithm::kDirect, isa, &plan).ok());
    return plan.direct.bf16_pairs;
  };
  const Problem strided = Square(1, 14, 64, 128, 3, 2, 1, 1, 1);
  CHECK_TRUE(multiplies_pairs(strided, DataType::kBFloat16, Wide()));
  CHECK_TRUE(!multiplies_pairs(strided, DataType::kBFloat16, Portable()));
  CHECK_TRUE(!multiplies_pairs(strided, DataType::kFloat16, Wide()));
  // Strips of one output row and few channels.
  const auto strip_multiplies_pairs = [](Problem problem) {
    problem.dtype = DataType::kBFloat16;
    Plan plan;
    CHECK_TRUE(MakePlan(problem, Algorithm::kDirect, Wide(), &plan).ok());
    return plan.strips && plan.strip_direct.bf16_pairs;
  };
  CHECK_TRUE(strip_multiplies_pairs(Square(8, 224, 3, 64, 7, 2, 1, 3, 1)));
  CHECK_TRUE(!strip_multiplies_pairs(Square(8, 112, 3, 64, 7, 2, 1, 3, 1)));
  CHECK_TRUE(!strip_multiplies_pairs(Square(8, 224, 6, 64, 7, 2, 1, 3, 2)));
  // dY is read where it lies if nothing has to be widened or filled up.
  const auto dy_in_place = [](const Problem& problem) {
    return PlanOf(problem, Algorithm::kDirect).strip_direct.dy_in_place;
  };
  CHECK_TRUE(dy_in_place(Square(8, 224, 3, 64, 3, 1, 1, 1, 1)));
  CHECK_TRUE(!dy_in_place(Square(8, 224, 3, 63, 3, 1, 1, 1, 1)));
  CHECK_TRUE(!dy_in_place(Square(8, 224, 3, 64, 7, 2, 1, 3, 1)));  // many rows of X for narrow vectors
  // Seven of nine taps see nothing but padding.
  CHECK_TRUE(!multiplies_pairs(Square(1, 14, 64, 128, 3, 1, 13, 13, 1), DataType::kBFloat16, Wide()));
}

// The 16-bit types where wide vectors multiply X and dY in place.
void TestStages() {
  const auto plan_of = [](Problem problem, DataType dtype) {
    problem.dtype = dtype;
    Plan plan;
    CHECK_TRUE(MakePlan(problem, Algorithm::kDirect, Wide(), &plan).ok());
    return plan;
  };
  const auto in_place = [&](const Problem& problem, DataType dtype) { return plan_of(problem, dtype).in_place; };

  const Problem pointwise = Square(8, 28, 64, 256, 1, 1, 1, 0, 1);
  CHECK_TRUE(!plan_of(pointwise, DataType::kFloat32).pointwise.staged);
  CHECK_TRUE(plan_of(pointwise, DataType::kFloat16).pointwise.staged);
  CHECK_TRUE(!plan_of(pointwise, DataType::kFloat16).pointwise.bf16_pairs);
  CHECK_TRUE(plan_of(pointwise, DataType::kBFloat16).pointwise.bf16_pairs);
  CHECK_EQ(plan_of(pointwise, DataType::kBFloat16).pointwise.depth_block % 2, 0);
  CHECK_TRUE(in_place(Square(8, 28, 4, 64, 1, 1, 1, 0, 1), DataType::kBFloat16));
  const Plan few_filters = plan_of(Square(8, 28, 64, 4, 1, 1, 1, 0, 1), DataType::kFloat16);
  CHECK_TRUE(few_filters.exchanged && few_filters.in_place);
  // Beside its stage a block of so many channels would not stay in a cache of 1 MiB or less.
  CHECK_TRUE(!in_place(Square(8, 14, 2048, 512, 1, 1, 1, 0, 1), DataType::kBFloat16));

  const Problem dense = Square(8, 28, 32, 96, 5, 1, 1, 2, 1);
  CHECK_TRUE(plan_of(dense, DataType::kFloat16).direct_in_place.staged);
  CHECK_TRUE(plan_of(dense, DataType::kBFloat16).direct_in_place.bf16_pairs);
  CHECK_TRUE(!plan_of(dense, DataType::kFloat32).direct_in_place.staged);
  // Pairs are of images, even where no cache holds the sums, but not where each strip has too few pixels to add to
  // them.
  CHECK_TRUE(!in_place(Square(1, 28, 32, 96, 5, 1, 1, 2, 1), DataType::kBFloat16));
  CHECK_TRUE(in_place(Square(3, 28, 32, 96, 5, 1, 1, 2, 1), DataType::kBFloat16));
  CHECK_TRUE(in_place(Square(8, 7, 512, 512, 3, 1, 1, 1, 1), DataType::kBFloat16));
  CHECK_TRUE(!in_place(Square(8, 7, 512, 512, 3, 1, 1, 1, 1), DataType::kFloat16));
  CHECK_TRUE(!in_place(Square(16, 8, 1024, 256, 4, 4, 1, 0, 1), DataType::kBFloat16));
  CHECK_TRUE(!in_place(Square(16, 14, 4096, 1024, 3, 2, 1, 1, 1), DataType::kBFloat16));
  // An odd image is worth its zeros while the filters are few.
  CHECK_TRUE(in_place(Square(4, 28, 64, 128, 3, 2, 1, 1, 1), DataType::kBFloat16));
  CHECK_TRUE(!in_place(Square(3, 28, 64, 128, 3, 2, 1, 1, 1), DataType::kBFloat16));
  CHECK_TRUE(in_place(Square(3, 28, 64, 16, 3, 2, 1, 1, 1), DataType::kBFloat16));
  // Stages do not hold what no tap sees, nor all of an image for each of its rows.
  for (const DataType dtype : {DataType::kFloat16, DataType::kBFloat16}) {
    CHECK_TRUE(!in_place(Square(8, 112, 64, 64, 2, 8, 1, 0, 1), dtype));
    CHECK_TRUE(!in_place(Square(8, 112, 64, 64, 1, 8, 1, 0, 2), dtype));
    CHECK_TRUE(!in_place(Square(2, 500, 32, 16, 5, 1, 60, 120, 1), dtype));
  }
  // Many workers find tasks even where a single slice has all pixels.
  CHECK_TRUE(plan_of(Square(32, 14, 512, 512, 3, 2, 1, 1, 1), DataType::kBFloat16).tasks >= 64);
  // Rows of few channels are better packed as runs where those are multiplied in pairs too, or side by side.
  CHECK_TRUE(!in_place(Square(8, 224, 3, 64, 7, 2, 1, 3, 1), DataType::kBFloat16));
  CHECK_TRUE(!in_place(Square(8, 224, 3, 768, 16, 16, 1, 0, 1), DataType::kBFloat16));
  CHECK_TRUE(in_place(Square(8, 56, 3, 64, 3, 1, 1, 1, 1), DataType::kBFloat16));
  CHECK_TRUE(!in_place(Square(8, 56, 3, 64, 3, 1, 1, 1, 1), DataType::kFloat16));
  // An odd image and the stage count where Winograd's algorithm is the other way.
  const auto best = [](Problem problem) {
    problem.dtype = DataType::kBFloat16;
    Plan plan;
    CHECK_TRUE(MakePlan(problem, Algorithm::kAuto, Wide(), &plan).ok());
    return std::string(Name(plan.algorithm));
  };
  CHECK_EQ(best(Square(3, 28, 64, 64, 3, 1, 1, 1, 1)), "winograd");
  CHECK_EQ(best(Square(8, 28, 64, 512, 3, 1, 1, 1, 1)), "winograd");
  CHECK_EQ(best(Square(8, 28, 16, 32, 3, 1, 1, 1, 1)), "direct");
  // Groups that share vectors need no stage; others take pairs.
  CHECK_TRUE(!plan_of(Square(8, 28, 64, 64, 3, 1, 1, 1, 16), DataType::kBFloat16).direct_in_place.staged);
  CHECK_TRUE(plan_of(Square(8, 28, 96, 96, 3, 1, 1, 1, 4), DataType::kBFloat16).direct_in_place.bf16_pairs);
}

// Many groups of one channel to many filters share no more panels than a thread may hold.
void TestPanelsOfManyGroups() {
  for (const Isa* isa : {&Portable(), &Wide()}) {
    Plan plan;
    CHECK_TRUE(MakePlan(Square(1, 16, 32, 16384, 1, 1, 1, 0, 32), Algorithm::kDirect, *isa, &plan).ok());
  }
}

// What nobody could count is not counted for the choice of vectors either.
void TestUnplannable() {
  Isa wide = Wide();
  wide.half_as_wide = &Portable();
  Problem p = Square(1, 1, 4, 2, 1, 1, 1, 0, 2);
  p.dtype = DataType::kBFloat16;
  p.in_height = p.out_height = p.filter_height = int64_t{1} << 40;
  Plan plan;
  CHECK_TRUE(MakePlan(p, Algorithm::kAuto, wide, &plan).ok());
  CHECK_TRUE(plan.algorithm == Algorithm::kReference);
}

void TestForced() {
  Plan plan;
  const Problem strided = Square(8, 56, 64, 64, 3, 3, 1, 1, 1);
  const Status status = MakePlan(strided, Algorithm::kWinograd, Portable(), &plan);
  CHECK_TRUE(status.code() == Code::kInvalidArgument);
  CHECK_EQ(status.message(), "algorithm 'winograd' cannot compute this problem: the stride is not 1 or 2");
  CHECK_TRUE(!MakePlan(Square(1, 2, 1, 1, 3, 1, 2, 40, 1), Algorithm::kWinograd, Portable(), &plan).ok());
  // Forced, it runs where it would not pay.
  CHECK_TRUE(PlanOf(Square(1, 7, 64, 64, 3, 1, 1, 1, 1), Algorithm::kWinograd).algorithm == Algorithm::kWinograd);

  int declined = 0;
  CHECK_TRUE(MakePlan(strided, Algorithm::kAuto, Portable(), &plan, [&](Algorithm, const char* reason) {
               ++declined;
               CHECK_TRUE(*reason != 0);
             }).ok());
  CHECK_EQ(declined, 9);
}

void TestWorkspace() {
  constexpr size_t kLimit = 16 << 20;
  for (const DataType dtype : {DataType::kFloat16, DataType::kBFloat16, DataType::kFloat32, DataType::kFloat64}) {
    for (const int64_t channels : {3, 16, 64, 100, 128, 256, 512, 1024, 2048}) {
      for (const int64_t image : {7, 14, 28, 56, 224}) {
        for (const int64_t filter : {1, 3, 5, 7, 31}) {
          for (const int64_t groups : {int64_t{1}, channels}) {
            for (const int64_t stride : {1, 2}) {
              Problem problem = Square(32, image, channels, channels, filter, stride, 1, filter / 2, groups);
              problem.dtype = dtype;
              const size_t dw_bytes = FilterElements(problem) * (dtype == DataType::kFloat64 ? 8 : 4);
              for (const Isa* isa : {&Portable(), &Wide()}) {
                Plan plan;
                CHECK_TRUE(MakePlan(problem, Algorithm::kAuto, *isa, &plan).ok());
                CHECK_LE(plan.worker_bytes, kLimit);
                // One rounding at the end takes sums of all of dW when dW has another type.
                CHECK_LE(plan.shared_bytes, kLimit + dw_bytes);
              }
            }
          }
        }
      }
    }
  }
}

// Whose columns of the filter and channels are one run: not where an image has next to no pixels, or taps.
void TestFewPixelsOfFewChannels() {
  const auto in_strips = [](const Problem& problem) { return PlanOf(problem).strips; };
  CHECK_TRUE(!in_strips(Square(256, 3, 8, 64, 3, 1, 1, 0, 1)));
  CHECK_TRUE(!in_strips(Square(256, 3, 3, 64, 3, 1, 1, 1, 1)));
  CHECK_TRUE(!in_strips(Square(256, 4, 8, 64, 7, 1, 1, 3, 1)));
  CHECK_TRUE(in_strips(Square(256, 4, 3, 64, 3, 1, 1, 1, 1)));
  CHECK_TRUE(in_strips(Square(64, 8, 3, 64, 7, 1, 1, 3, 1)));
}

// Transforms are shared where tasks would be few and long, or their sums many for their tiles, and lines are streamed.
void TestSharedTransforms() {
  const auto shared = [](const Problem& problem, const Isa& isa = Wide()) {
    Plan plan;
    return MakePlan(problem, Algorithm::kWinograd, isa, &plan).ok() && plan.winograd.shared_transforms;
  };
  CHECK_TRUE(shared(Square(8, 28, 128, 128, 3, 1, 1, 1, 1)));
  CHECK_TRUE(!shared(Square(8, 28, 128, 128, 3, 1, 1, 1, 1), Portable()));
  CHECK_TRUE(!shared(Square(8, 28, 64, 64, 3, 1, 1, 1, 1)));
  CHECK_TRUE(!shared(Square(8, 56, 128, 128, 3, 1, 1, 1, 1)));
  CHECK_TRUE(!shared(Square(8, 56, 128, 128, 3, 2, 1, 1, 1)));
  CHECK_TRUE(shared(Square(1, 28, 128, 128, 3, 1, 1, 1, 1)));
  CHECK_TRUE(!shared(Square(1, 28, 32, 32, 3, 1, 1, 1, 1)));
}

// Taps that are known at once are rounded at once, and need no sums of all of dW.
void TestRoundedTaps() {
  Problem problem = Square(8, 7, 512, 512, 3, 1, 1, 1, 1);
  const auto plan_of = [&](DataType dtype) {
    problem.dtype = dtype;
    return PlanOf(problem, Algorithm::kWinograd);
  };
  const Plan half = plan_of(DataType::kFloat16);
  CHECK_TRUE(half.winograd.rounded);
  CHECK_EQ(half.shared_bytes, plan_of(DataType::kFloat32).shared_bytes);
  problem.batch = 128;
  CHECK_TRUE(!plan_of(DataType::kFloat16).winograd.rounded);
}

// The chains of sums stay short enough for the error bound, also where tasks need no partial sums.
void TestChains() {
  for (const Problem& problem : {Square(32, 112, 256, 1024, 1, 1, 1, 0, 1), Square(256, 28, 512, 512, 3, 2, 1, 1, 1),
                                 Square(64, 224, 64, 64, 1, 1, 1, 0, 1)}) {
    CHECK_LE(PlanOf(problem).direct.blocks_per_slice, 512);
  }
  const Plan grouped = PlanOf(Square(32, 224, 512, 512, 3, 1, 1, 1, 32));
  CHECK_TRUE(grouped.algorithm == Algorithm::kWinograd);
  CHECK_LE(grouped.winograd.chunks_per_task, 256);
  const Plan strided = PlanOf(Square(32, 448, 64, 64, 3, 2, 1, 1, 1));
  CHECK_TRUE(strided.algorithm == Algorithm::kWinograd);
  CHECK_LE(strided.winograd.chunks_per_task, 16);
  Plan in_place;
  CHECK_TRUE(MakePlan(Square(20000, 14, 16, 32, 5, 1, 1, 2, 1), Algorithm::kDirect, Wide(), &in_place).ok());
  CHECK_TRUE(in_place.in_place);
  CHECK_LE(CeilDiv(in_place.direct_in_place.strips, in_place.direct_in_place.depth_slices), 256);
  CHECK_TRUE(MakePlan(Square(20000, 14, 64, 64, 1, 1, 1, 0, 1), Algorithm::kDirect, Wide(), &in_place).ok());
  CHECK_LE(in_place.pointwise.blocks_per_slice, 256);
  // Tiny images, each of them a strip.
  CHECK_LE(PlanOf(Square(200000, 3, 1, 1, 3, 1, 1, 0, 1)).strip_direct.strips_per_slice, 256);
  CHECK_LE(PlanOf(Square(200000, 3, 4, 4, 3, 1, 1, 0, 2)).thin_groups.strips_per_task, 256);
  // Long rows, as those of one dimension are, in parts that are tasks of their own.
  Problem row = Square(1, 1, 32, 32, 1, 1, 1, 0, 16);
  row.in_width = row.out_width = 340000;
  CHECK_EQ(Chosen(row), "depthwise");
  CHECK_LE(PlanOf(row).thin_groups.strips_per_task, 256);
  row = Square(1, 1, 1, 32, 1, 1, 1, 0, 1);
  row.filter_width = 25;
  row.pad_left = 12;
  row.in_width = row.out_width = 340000;
  CHECK_TRUE(PlanOf(row).strips);
  CHECK_LE(PlanOf(row).strip_direct.strips_per_slice, 128);
  CHECK_EQ(PlanOf(row).tasks, 32);
}

// Groups of whose channels and filters one is few and the other is not.
void TestUnevenGroups() {
  const auto chosen = [](int64_t size, int64_t channels, int64_t filters, int64_t filter, int64_t groups) {
    return Chosen(Square(4, size, groups * channels, groups * filters, filter, 1, 1, filter / 2, groups));
  };
  CHECK_EQ(chosen(28, 128, 6, 1, 4), "direct");
  CHECK_EQ(chosen(28, 32, 4, 1, 16), "direct");
  CHECK_EQ(chosen(28, 64, 7, 5, 8), "direct");
  CHECK_EQ(chosen(112, 3, 64, 7, 2), "direct");
  CHECK_EQ(chosen(28, 4, 2, 5, 32), "depthwise");
  CHECK_EQ(chosen(28, 2, 1, 1, 32), "depthwise");
  // Tiny images are multiplied tap by tap, with groups as without.
  CHECK_TRUE(!PlanOf(Square(64, 1, 128, 256, 3, 1, 1, 1, 16)).strips);
  CHECK_TRUE(PlanOf(Square(32, 4, 256, 256, 5, 1, 1, 2, 32)).strips);
}

// Sizes that the attributes allow and no cache holds.
void TestHuge() {
  Problem reaching = Square(1, 5, 32, 32, 3, 1, 1, 1, 32);
  reaching.dilation_height = reaching.dilation_width = 2147483647;
  reaching.pad_top = reaching.pad_left = 2147483647;
  CHECK_EQ(Chosen(reaching), "direct");
  Problem wide = Square(1, 3, 32, 64, 3, 1, 1, 1, 32);
  wide.in_width = wide.out_width = 1 << 20;
  CHECK_EQ(Chosen(wide), "depthwise");
  CHECK_TRUE(PlanOf(wide).strips);
  wide.out_channels = 32;  // in place
  CHECK_EQ(Chosen(wide), "depthwise");
  // Strips whose bytes wrap around 2^64 to few, or to none.
  Problem wraps = Square(1, 1, 4814534, 2, 1, 1, 1, 0, 2);
  wraps.filter_height = 2;
  wraps.dilation_height = wraps.pad_top = 65421;
  wraps.stride_width = 922;
  wraps.pad_left = 922000;
  wraps.out_width = 1986;
  CHECK_EQ(Chosen(wraps), "direct");
  wraps = Square(1, 1, 1 << 28, 2, 1, 1, 1, 0, 2);
  wraps.dtype = DataType::kFloat16;
  wraps.filter_width = 2;
  wraps.dilation_width = 3070;
  wraps.stride_height = 1024;
  wraps.stride_width = 1023;
  wraps.out_width = 2048;
  CHECK_EQ(Chosen(wraps), "direct");
  // Groups in place whose rows would be no bytes long.
  wraps = Square(1, 1, 32, 32, 1, 1, 1, 0, 8);
  wraps.in_width = wraps.out_width = 1 << 26;
  wraps.stride_height = 2147483647;
  Plan plan;
  CHECK_TRUE(MakePlan(wraps, Algorithm::kAuto, Wide(), &plan).ok());
  wraps.in_width = wraps.out_width = int64_t{1} << 31;
  wraps.stride_height = int64_t{1} << 31;
  CHECK_TRUE(MakePlan(wraps, Algorithm::kAuto, Wide(), &plan).ok());
  // Next to nothing but padding, which a strip would have to hold.
  Problem sparse = Square(1, 1, 2, 4, 1, 1, 1, 0, 2);
  sparse.filter_width = 2;
  sparse.dilation_width = 1000;
  sparse.pad_top = 500000;
  sparse.out_height = 1000000;
  CHECK_EQ(Chosen(sparse), "direct");
  Problem beyond = Square(1, 1, 2, 2, 3, 1, 1, 1, 2);
  beyond.in_width = beyond.out_width = int64_t{1} << 57;
  beyond.stride_height = beyond.dilation_height = 101;
  CHECK_EQ(Chosen(beyond), "reference");
  // As many taps as pixels, whose pairs would take minutes to count.
  Problem endless = Square(1, 1, 2, 1, 1, 1, 1, 0, 1);
  endless.in_height = int64_t{1} << 35;
  endless.filter_height = endless.out_height = int64_t{1} << 34;
  CHECK_EQ(Chosen(endless), "reference");
}

}  // namespace

int main() {
  TestChoice();
  TestTileCut();
  TestTiling();
  TestHalfAsWide();
  TestPanelsOfManyGroups();
  TestUnplannable();
  TestPairs();
  TestStages();
  TestForced();
  TestWorkspace();
  TestFewPixelsOfFewChannels();
  TestUnevenGroups();
  TestSharedTransforms();
  TestRoundedTaps();
  TestChains();
  TestHuge();
  return Failures();
}

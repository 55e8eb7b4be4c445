// Runs CheckInput without libFuzzer, on the files given, or on random bytes:
//   driver FILE...
//   driver --random COUNT SEED
// Input i of the latter is random too when it is asked for alone, as `--random 1 SEED+i`.
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/check_input.h"

namespace {

bool CheckFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::cerr << "cannot read " << path << "\n";
    return false;
  }
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const bool ok = CheckInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  if (!ok) std::cerr << "  in " << path << "\n";
  return ok;
}

bool CheckRandom(uint64_t seed) {
  std::mt19937_64 random(seed);
  uint64_t words[16];  // more bytes than any target reads
  for (uint64_t& word : words) word = random();
  const bool ok = CheckInput(reinterpret_cast<const uint8_t*>(words), sizeof(words));
  if (!ok) std::cerr << "  from seed " << seed << "\n";
  return ok;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  int64_t inputs = 0, failures = 0;
  if (args.size() == 3 && args[0] == "--random") {
    const uint64_t seed = std::stoull(args[2]);
    std::cout << "seed " << seed << std::endl;
    for (; inputs < std::stoll(args[1]); ++inputs) failures += !CheckRandom(seed + inputs);
  } else {
    for (; inputs < static_cast<int64_t>(args.size()); ++inputs) failures += !CheckFile(args[inputs]);
  }
  std::cout << inputs << " inputs, " << failures << " failures; " << Reached() << "\n";
  return inputs == 0 || failures > 0;
}

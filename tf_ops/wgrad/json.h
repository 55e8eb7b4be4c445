#ifndef TF_OPS_WGRAD_JSON_H_
#define TF_OPS_WGRAD_JSON_H_

#include <cstdint>
#include <cstdio>
#include <string>

namespace wgrad {

// A JSON object that is written member by member.
class JsonObject {
 public:
  JsonObject& Add(const std::string& key, const std::string& text) { return AddJson(key, Quoted(text)); }
  JsonObject& Add(const std::string& key, const char* text) { return Add(key, std::string(text)); }
  JsonObject& Add(const std::string& key, int64_t number) { return AddJson(key, std::to_string(number)); }
  JsonObject& Add(const std::string& key, bool value) { return AddJson(key, value ? "true" : "false"); }
  JsonObject& AddJson(const std::string& key, const std::string& json) {
    members_ += (members_.empty() ? "" : ", ") + Quoted(key) + ": " + json;
    return *this;
  }
  std::string str() const { return "{" + members_ + "}"; }

 private:
  static std::string Quoted(const std::string& text) {
    std::string quoted = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') {
        quoted += '\\';
        quoted += c;
      } else if (static_cast<unsigned char>(c) < 0x20) {
        char escaped[7];
        std::snprintf(escaped, sizeof(escaped), "\\u%04x", c);
        quoted += escaped;
      } else {
        quoted += c;
      }
    }
    return quoted + '"';
  }

  std::string members_;
};

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_JSON_H_

#ifndef TF_OPS_WGRAD_STATUS_H_
#define TF_OPS_WGRAD_STATUS_H_

#include <string>
#include <utility>

namespace wgrad {

enum class Code { kOk, kInvalidArgument, kResourceExhausted, kUnimplemented, kInternal };

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

inline Status InvalidArgument(std::string message) { return Status(Code::kInvalidArgument, std::move(message)); }

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_STATUS_H_

// Details of a failed call: the reason, its metadata, and the invalid fields.
#pragma once

#include <grpcpp/grpcpp.h>

#include <iosfwd>
#include <stdexcept>

// A failed call.
class CallFailed : public std::runtime_error {
 public:
  explicit CallFailed(const grpc::Status& status);
  const grpc::Status status;
};

// Throws if a call failed.
void Check(const grpc::Status& status);

// Writes the status, the reason, its metadata and the invalid fields.
void Explain(const grpc::Status& status, std::ostream& out);

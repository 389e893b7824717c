#include "errors.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>

#include <map>
#include <ostream>

CallFailed::CallFailed(const grpc::Status& failed) : std::runtime_error(failed.error_message()), status(failed) {}

void Check(const grpc::Status& status) {
  if (!status.ok()) throw CallFailed(status);
}

void Explain(const grpc::Status& status, std::ostream& out) {
  out << "status: " << status.error_code() << " " << status.error_message() << "\n";
  // gRPC for C++ returns the trailer grpc-status-details-bin from error_details().
  google::rpc::Status rich;
  if (!rich.ParseFromString(status.error_details())) return;
  for (const google::protobuf::Any& detail : rich.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest wrong;
    if (detail.UnpackTo(&info)) {
      out << "reason: " << info.reason() << "\n";
      for (const auto& [key, value] : std::map<std::string, std::string>(info.metadata().begin(), info.metadata().end()))
        out << "fact: " << key << "=" << value << "\n";
    } else if (detail.UnpackTo(&wrong)) {
      for (const auto& violation : wrong.field_violations())
        out << "field: " << violation.field() << ": " << violation.description() << "\n";
    }
  }
}

package main

import (
	"fmt"
	"sort"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// explain returns lines that describe the error: the status, the reason, its metadata, and the invalid fields.
func explain(failed error) string {
	rich := status.Convert(failed)
	lines := []string{fmt.Sprintf("status: %d %s", rich.Code(), rich.Message())}
	for _, detail := range rich.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			lines = append(append(lines, "reason: "+detail.GetReason()), facts(detail.GetMetadata())...)
		case *errdetails.BadRequest:
			for _, wrong := range detail.GetFieldViolations() {
				lines = append(lines, "field: "+wrong.GetField()+": "+wrong.GetDescription())
			}
		}
	}
	return strings.Join(lines, "\n")
}

func facts(metadata map[string]string) []string {
	lines := make([]string, 0, len(metadata))
	for key, value := range metadata {
		lines = append(lines, "fact: "+key+"="+value)
	}
	sort.Strings(lines)
	return lines
}

"""The gRPC services, and what gives out jobs and watches over them."""

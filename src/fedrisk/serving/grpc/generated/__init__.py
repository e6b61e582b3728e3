"""Messages of the Open Inference Protocol, made by `make proto` from inference.proto."""

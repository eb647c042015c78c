module isthmus.dev/lab/toolchain

go 1.19

require golang.org/toolchain v0.0.1-go1.24.13.linux-amd64

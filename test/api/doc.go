// Package api tests the HTTP API from outside: requests of every kind that its specification
// allows and forbids (schemathesis). Against the same devnet it runs the code blocks of README.md,
// CONTRIBUTING.md, SECURITY.md and docs, as a reader would: each is run, or is listed in
// blocks_test.go with the reason why not. And it draws the figures of contrib/paper. It needs
// Node.js and a Python with test/api/requirements.txt and those of contrib/paper: `make fuzz-api`
// makes one.
package api

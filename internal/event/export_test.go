package event

// ReadFast is for tests that import eventtest, which imports this package.
var ReadFast = readFast

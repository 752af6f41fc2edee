// Package eventtest makes events for tests that must not forget a field: it fills
// them by reflection, so that a field added to an event is in the sample too.
package eventtest

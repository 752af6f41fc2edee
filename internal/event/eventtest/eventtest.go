package eventtest

import (
	"fmt"
	"reflect"

	"github.com/chainbound/valtrack/internal/event"
)

// Filled gives one valid event of each type in which every field is set, nested ones
// too, every pointer points to something and every list has two elements. Values
// differ from field to field, as far as their types and bounds allow.
func Filled() []event.Event {
	events := []event.Event{new(event.PeerDiscovered), new(event.MetadataReceived), new(event.VisitEnded)}
	for _, e := range events {
		f := filler{}
		f.fill("", reflect.ValueOf(e).Elem())
	}
	return events
}

// fixed are the fields that take only certain values.
var fixed = map[string]any{
	"Timestamp": int64(1763800000123), "Started": int64(1763800000001), "Ended": int64(1763800009002),
	"From": int64(1763800001003), "To": int64(1763800008004),
	"EarlierBootEnd": event.Key{Sentry: "SENTRY", Boot: 7, Counter: 8}.String(),
	"Direction":      event.Inbound, "Transport": event.QUIC, "Outcome": event.OutcomeGoodbye,
}

// filler counts up. The values it makes are valid as subnets of either kind while
// they are below 4, and ascend within a list.
type filler struct{ n int }

func (f *filler) fill(field string, v reflect.Value) {
	if value, ok := fixed[field]; ok {
		v.Set(reflect.ValueOf(value))
		return
	}
	f.n++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(field, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			if v.Index(i).CanInt() { // subnets, sorted
				v.Index(i).SetInt(int64(2*i + f.n%2))
				continue
			}
			f.fill(field, v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			f.n++
			v.Index(i).SetUint(uint64(f.n & 0xff))
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("%s-%d", field, f.n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8: // four bits of sync committee subnets
		v.SetUint(uint64(1 + f.n%15))
	case reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		v.SetUint(uint64(f.n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(1 + f.n%63))
	default:
		panic(fmt.Sprintf("field %s: no sample of type %s", field, v.Type()))
	}
}

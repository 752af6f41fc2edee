package eventtest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/chainbound/valtrack/internal/event"
)

// WithoutOptional gives copies of a filled event, by the name of the field, of which one
// field that may be absent, or whose list may be null, is. Not all of them are valid.
func WithoutOptional(e event.Event) map[string]event.Event {
	out := map[string]event.Event{}
	optional(reflect.TypeOf(e).Elem(), nil, func(path []int, name string) {
		c := clone(e)
		v := reflect.ValueOf(c).Elem()
		for _, i := range path {
			if v.Kind() == reflect.Pointer {
				v = v.Elem()
			}
			if v.Kind() == reflect.Slice {
				v = v.Index(1)
			}
			v = v.Field(i)
		}
		v.SetZero()
		out[name] = c
	})
	return out
}

func clone(e event.Event) event.Event {
	c := reflect.New(reflect.TypeOf(e).Elem()).Interface().(event.Event)
	data, err := json.Marshal(e)
	if err == nil {
		err = json.Unmarshal(data, c)
	}
	if err != nil {
		panic(fmt.Sprintf("%s: %v", e.Subject(), err))
	}
	return c
}

// optional visits the fields that encoding/json omits when they are empty, and lists.
func optional(typ reflect.Type, path []int, visit func(path []int, name string)) {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct {
		return
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		at := append(path[:len(path):len(path)], i)
		tag := f.Tag.Get("json")
		if strings.HasSuffix(tag, ",omitempty") || strings.HasSuffix(tag, ",omitzero") || f.Type.Kind() == reflect.Slice {
			visit(at, typ.Name()+"."+f.Name)
		}
		optional(f.Type, at, visit)
	}
}

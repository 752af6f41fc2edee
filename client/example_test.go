package client_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/chainbound/valtrack/client"
)

// The nodes with the most validators of one client.
func Example() {
	// A server that stands for `valtrack run`.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"data":[{"id":"16Uiu2HAm1","validators":120,"validators_low":90,"validators_high":160}],"meta":{"network":"mainnet","next":null,"total":1}}`)
	}))
	defer server.Close()

	c, err := client.New(client.Config{URL: server.URL}) // http://127.0.0.1:8080
	if err != nil {
		fmt.Println(err)
		return
	}
	query := client.NodeQuery{Client: []string{"lighthouse"}, Sort: "-validators", Counted: true}
	for n, err := range c.Nodes(context.Background(), query) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if n.Validators != nil {
			fmt.Printf("%s %.0f [%.0f to %.0f]\n", n.ID, *n.Validators, *n.ValidatorsLow, *n.ValidatorsHigh)
		}
	}
	// Output: 16Uiu2HAm1 120 [90 to 160]
}

package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/geo"
)

// Devnet is a simulated network in this process.
type Devnet struct {
	*devnet.Devnet
	log *slog.Logger
	cleanups
}

// OpenDevnet locks the network's directory and starts the network. The end of ctx
// interrupts the start but not the running network, which has to be there until its
// visitors have left. Errors that the user can fix are ConfigErrors.
func OpenDevnet(ctx context.Context, cfg devnet.Config, log *slog.Logger) (*Devnet, error) {
	if err := cfg.Check(); err != nil {
		return nil, AsConfigError(err)
	}
	lock, err := lockDevnet(cfg.Dir)
	if err != nil {
		return nil, err
	}
	d := &Devnet{log: log}
	d.add(func() { lock.Close() })
	if d.Devnet, err = startDevnet(ctx, cfg, log); err != nil {
		d.cleanUp()
		return nil, err
	}
	d.add(func() { d.Devnet.Close() })
	return d, nil
}

func startDevnet(ctx context.Context, cfg devnet.Config, log *slog.Logger) (*devnet.Devnet, error) {
	life, abort := context.WithCancel(context.WithoutCancel(ctx))
	started := context.AfterFunc(ctx, abort)
	d, err := devnet.Start(life, cfg, log)
	started()
	var bad *devnet.ConfigError
	switch {
	case errors.As(err, &bad):
		return nil, AsConfigError(err)
	case err != nil:
		abort()
		return nil, err
	}
	log.Info("wrote the devnet files", slog.String("dir", cfg.Dir))
	return d, nil
}

// Run waits until ctx ends. The error is that of a network that has failed before.
func (d *Devnet) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-d.Ended():
		return fmt.Errorf("the devnet has failed: %w", d.Devnet.Close())
	}
	d.log.Info("stopping the devnet")
	return nil
}

// Close stops the network.
func (d *Devnet) Close() { d.cleanUp() }

// simulatePlaces gives the nodes of a simulated network, whichever process it runs in,
// places all over the world. It changes nothing for other networks.
func simulatePlaces(net network.Network, places *geo.Locator, log *slog.Logger) {
	if net.Name != devnet.Name {
		return
	}
	places.Simulate(devnet.StandIn)
	log.Info("simulated nodes get the places of public addresses, marked as simulated; the API hides none of them")
}

package cli

import (
	"context"
	"slices"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
)

func (p *program) runCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "run", Usage: "run sentry, JetStream and consumer in one process",
		Description: "Crawls the network and writes the datasets in --data-dir. With --network devnet it also starts the\n" +
			"network, and no traffic leaves this machine; --network-dir takes precedence, and starts none. JetStream is\n" +
			"embedded unless --nats names a server.",
		Flags: slices.Concat(sentryFlags(), consumerFlags(), natsFlags(), devnetFlags(), serviceFlags()),
	}, runAll)
}

func runAll(ctx context.Context, in invocation) error {
	if err := in.noArguments(); err != nil {
		return err
	}
	cfg, err := in.pipelineConfig()
	if err != nil {
		return err
	}
	svc, err := in.newService()
	if err != nil {
		return err
	}
	return app.Run(ctx, svc, func(ctx context.Context) (*app.Pipeline, error) { return app.OpenPipeline(ctx, cfg, svc) })
}

// pipelineConfig checks the flags of run. Errors are of wrong usage.
func (in invocation) pipelineConfig() (cfg app.PipelineConfig, err error) {
	var net app.DirNetwork // the devnet's is known when it has started
	if in.simulated() {
		d, err := in.devnetConfig()
		if err != nil {
			return cfg, err
		}
		cfg.Devnet = &d
	} else if net, err = in.usableNetwork(); err != nil {
		return cfg, err
	}
	if cfg.Consumer, err = in.consumerConfig(net, app.EmbeddedNATS); err != nil {
		return cfg, err
	}
	cfg.Sentry, err = in.sentryConfig(net)
	return cfg, err
}

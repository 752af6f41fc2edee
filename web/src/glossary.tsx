import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";

/** The field's words, as docs/glossary.md has them, for who meets them here first. */
export const glossary: Record<string, string> = {
  attachments: "Validators summed over nodes. A validator that runs on two nodes is counted at both, so this can exceed the number of active validators.",
  "hidden validators": "Validators beyond the interval that silent nodes may have: nodes whose custody groups require validators but that show no duties.",
  "90 % interval": "In simulation the true number is between these ends nine times in ten.",
  "reachable node": "A beacon node that completed a handshake (Status and MetaData), or was being watched after one, in the last day. Several peer ids at one IP address and port count once.",
  "active validators": "Validators of the network that currently have to attest, from a beacon node or from the network's configuration.",
  "33, 50 and 66 % lines": "Lines for shares of validators: a bug in a client with more than a third of them can stop finality; with more than half it can decide which block is the head of the chain, with two thirds finalise an invalid chain. A share of nodes only hints at it.",
  ENR: "A signed record of a node's keys, addresses and consensus entries (EIP-778).",
  "fork digest": "Four bytes that identify a network's fork and blob parameters. Peers must agree on it.",
  "long-lived subnet": "An attestation subnet, determined by the node id, to which a node subscribes permanently.",
  "short-lived subnet": "An attestation subnet that a node joins for a validator's duty and leaves afterwards: the main evidence of validators.",
  "custody group": "One of 128 groups of data columns. The number that a node keeps grows with the stake of its validators.",
  "network (AS)": "An autonomous system: a provider's or company's part of the internet.",
  HHI: "Herfindahl-Hirschman index: the sum of the squared shares in percent, from near 0 (many equal groups) to 10,000 (one group has all). A lower bound: validators whose group is not known count as spread over many groups.",
  "multiplicity": "On how many nodes a validator runs, on average, measured from duties that several nodes show at once.",
  posterior: "The probability of each number of validators, given everything that was observed about the node.",
  "watched epochs": "Epochs during which a connection was held and every subscription was logged.",
  nfd: "Next fork digest: the digest after the next fork, according to a node's record.",
  "missing events": "Events that a sentry numbered but that never arrived here.",
  lag: "Messages in the JetStream stream that are not stored yet.",
  agent: "The text with which a node identifies its software, such as lighthouse/v8.0.1.",
  "peer id": "Identifies a node in libp2p: its encoded public key.",
  "node id": "Identifies a node in discv5: the hash of its public key.",
  Status: "A node's fork digest and its view of the chain: the first message of a handshake.",
  MetaData: "A node's long-lived subnets and custody group count, which it sends on request.",
  watch: "A visit that stays for whole epochs and logs every subscription.",
  segment: "The rows that are committed together.",
  handshake: "Status and MetaData were exchanged.",
  sentry: "The process that finds and visits nodes.",
};

// Escape hides what an explanation covers, until the pointer or the focus moves on.
const { classList } = document.documentElement;
addEventListener("keydown", (e) => e.key === "Escape" && classList.add("noterms"));
for (const moved of ["pointerover", "focusin"]) addEventListener(moved, () => classList.remove("noterms"));

/** A word with its explanation on hover, focus and touch. */
export function Term({ name, children }: { name: keyof typeof glossary & string; children?: ComponentChildren }) {
  const id = useId();
  return (
    <span class="term">
      <button type="button" aria-describedby={id}>
        {children ?? name}
      </button>
      <span role="tooltip" id={id}>
        {glossary[name]}
      </span>
    </span>
  );
}

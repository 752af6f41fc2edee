package eth2

// SubnetRule says which rule the long-lived attestation subnets follow that a node
// announces. It is one of the constants or, where rules agree on the subnets, their names
// joined with "+", such as "spec+static".
type SubnetRule string

// Values of SubnetRule.
const (
	// SubnetRuleSpec is compute_subscribed_subnets of the consensus specs.
	SubnetRuleSpec SubnetRule = "spec"
	// SubnetRuleStaggered is that of Lighthouse before 6 and of others of that time: the
	// spec's, with rotations spread over the epochs by the node id's first nine bits
	// (Lighthouse pull request 4304).
	SubnetRuleStaggered SubnetRule = "staggered"
	// SubnetRuleStatic is Lighthouse's since 6: the node id's prefix, which never rotates
	// (Lighthouse pull request 6146).
	SubnetRuleStatic SubnetRule = "static"
	// SubnetRuleAll is all 64 subnets.
	SubnetRuleAll SubnetRule = "all"
	// SubnetRuleNone is subnets that no rule gives.
	SubnetRuleNone SubnetRule = "none of them"
)

// subnetRules are the rules in the order of the bits of a set of them.
var subnetRules = [...]SubnetRule{SubnetRuleSpec, SubnetRuleStaggered, SubnetRuleStatic}

// ruleSets are the names of all sets of rules.
var ruleSets = func() (names [1 << len(subnetRules)]SubnetRule) {
	for set := range names {
		for i, rule := range subnetRules {
			if set>>i&1 == 0 {
				continue
			}
			if names[set] != "" {
				names[set] += "+"
			}
			names[set] += rule
		}
	}
	return names
}()

// LongLived says which rule the long-lived subnets follow that a node announces in the
// epoch, and which subnets that rule gives; the spec's where it is not one of the three
// rules. The rule is empty when the node announces no subnets: then it is not known. A node
// that is an epoch ahead or behind, as around a rotation, follows its rule too.
func (c *SubnetCache) LongLived(id NodeID, e Epoch, announced Attnets) (rule SubnetRule, expected [SubnetsPerNode]int) {
	now := c.byRule(id, e)
	switch announced.Count() {
	case 0:
		return "", now[0]
	case AttestationSubnetCount:
		return SubnetRuleAll, now[0]
	}
	set := matching(now, announced)
	if set == 0 && e > 0 {
		set = matching(c.byRule(id, e-1), announced)
	}
	if set == 0 && e < FarFutureEpoch {
		set = matching(c.byRule(id, e+1), announced)
	}
	for i := range subnetRules {
		if set>>i&1 == 1 {
			return ruleSets[set], now[i]
		}
	}
	return SubnetRuleNone, now[0]
}

// matching is the set of the rules that give the announced subnets.
func matching(byRule [len(subnetRules)][SubnetsPerNode]int, announced Attnets) (set int) {
	for i, subnets := range byRule {
		if NewAttnets(subnets[:]) == announced {
			set |= 1 << i
		}
	}
	return set
}

// byRule are the subnets by each of subnetRules.
func (c *SubnetCache) byRule(id NodeID, e Epoch) [len(subnetRules)][SubnetsPerNode]int {
	return [...][SubnetsPerNode]int{
		c.rotating(id, e, subnetOffset(id)), c.rotating(id, e, staggeredOffset(id)), backboneSubnets(subnetPrefix(id)),
	}
}

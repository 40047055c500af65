// This node in the API: its Node object, its status and its lease.
import type { KubeClient } from '@nodelet/kube-client'
import { parseDuration } from '../duration.ts'
import { createNodeAgent, type NodeAgent, type NodeAgentOptions } from '../node/node-agent.ts'
import type { NodeObjectFacts } from '../node/node-object.ts'
import { type NodeFactsOptions, nodeFactsOf } from './node-facts.ts'

export interface RegistrationOptions
  extends NodeFactsOptions, Pick<NodeAgentOptions, 'stepped' | 'events' | 'clock' | 'log'> {
  client: KubeClient
  /** What the kubelet's own parts say of the node now. */
  current(): Pick<NodeObjectFacts, 'port' | 'problems' | 'pressure' | 'devices' | 'volumesInUse'>
  /** Awaited before what is current is told: a moment, so that a restart is no reason to be not ready. */
  settled?(): Promise<void>
}

/** Begins to register the node, and keeps what the API knows of it true. */
export function registerNode({
  client,
  current,
  settled,
  stepped,
  events,
  clock,
  log,
  ...about
}: RegistrationOptions): NodeAgent {
  const { configuration, options } = about
  const { nodeStatusReportFrequency = '5m', nodeLeaseDurationSeconds: leaseSeconds } = configuration
  const agent = createNodeAgent({
    client,
    async facts() {
      await settled?.()
      return { ...(await nodeFactsOf(about)), ...current() }
    },
    nodeName: options.nodeName,
    statusMs: parseDuration(configuration.nodeStatusUpdateFrequency),
    reportMs: parseDuration(nodeStatusReportFrequency),
    leaseSeconds,
    ...(stepped && { stepped }),
    events,
    clock,
    log,
  })
  agent.start()
  return agent
}

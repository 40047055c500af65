// How long a new node takes until it is ready, step by step.
import { uptime } from 'node:os'
import type { Gauge } from 'prom-client'
import type { Clock } from '../clock.ts'
import type { NodeStep } from '../node/node-agent.ts'
import type { Families } from './families.ts'

type Span = 'preKubelet' | 'preRegistration' | 'registration' | 'postRegistration' | 'whole'

export interface StartupMetrics {
  startup: Record<Span, Gauge>
}

export const startupMetrics = ({ gauge }: Families): StartupMetrics => ({
  startup: {
    preKubelet: gauge(
      'kubelet_node_startup_pre_kubelet_duration_seconds',
      'From the start of the machine to that of the kubelet',
    ),
    preRegistration: gauge(
      'kubelet_node_startup_pre_registration_duration_seconds',
      'From the start of the kubelet until it begins to register the Node',
    ),
    registration: gauge(
      'kubelet_node_startup_registration_duration_seconds',
      'From when the kubelet begins to register the Node until that is done',
    ),
    postRegistration: gauge(
      'kubelet_node_startup_post_registration_duration_seconds',
      'From when the Node is registered until it is ready',
    ),
    whole: gauge('kubelet_node_startup_duration_seconds', 'From the start of the machine until the Node is ready'),
  },
})

/** Sets the metrics once, when a Node that this kubelet has made is first ready; one that was there before has begun long ago. */
export function measureStartup({ startup }: StartupMetrics, clock: Pick<Clock, 'now'>): (step: NodeStep) => void {
  const startMs = clock.now()
  const bootMs = startMs - uptime() * 1000
  const at: Partial<Record<NodeStep, number>> = {}
  return (step) => {
    if (at.ready !== undefined || (step === 'ready' && at.made === undefined)) return
    at[step] ??= clock.now()
    const { asked = startMs, made = asked, ready } = at
    if (ready === undefined) return
    const set = (span: Span, fromMs: number, toMs: number): void => startup[span].set((toMs - fromMs) / 1000)
    set('preKubelet', bootMs, startMs)
    set('preRegistration', startMs, asked)
    set('registration', asked, made)
    set('postRegistration', made, ready)
    set('whole', bootMs, ready)
  }
}

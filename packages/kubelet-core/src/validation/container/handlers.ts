// Rules for probes and hooks of containers. Pure.
import type {
  ExecAction,
  GRPCAction,
  HTTPGetAction,
  Probe,
  SleepAction,
  TCPSocketAction,
} from 'kubernetes-types/core/v1.d.ts'
import type { PlacedContainer } from '../containers.ts'
import { type FieldErrors, forbidden, invalid, required } from '../field-error.ts'
import { headerName } from '../names.ts'
import { notNegative, oneOf, port, portOrName } from '../values.ts'

interface Handler {
  exec?: ExecAction
  httpGet?: HTTPGetAction
  tcpSocket?: TCPSocketAction
  grpc?: GRPCAction
  sleep?: SleepAction
}

const kinds = ['exec', 'httpGet', 'tcpSocket', 'grpc', 'sleep'] as const
const numbers = [
  'initialDelaySeconds',
  'timeoutSeconds',
  'periodSeconds',
  'successThreshold',
  'failureThreshold',
] as const

/** @param grace the pod's `terminationGracePeriodSeconds` */
export function* probesErrors({ container, path }: PlacedContainer, grace: number | undefined): FieldErrors {
  for (const name of ['livenessProbe', 'readinessProbe', 'startupProbe'] as const) {
    const probe = container[name]
    if (!probe) continue
    const at = `${path}.${name}`
    yield* probeErrors(probe, at, grace)
    const { successThreshold, terminationGracePeriodSeconds: ownGrace } = probe
    if (name !== 'readinessProbe') {
      if (successThreshold !== 1) yield invalid(`${at}.successThreshold`, successThreshold ?? 0, 'must be 1')
    } else if (ownGrace !== undefined) {
      yield invalid(`${at}.terminationGracePeriodSeconds`, ownGrace, 'must not be set for readinessProbes')
    }
  }
}

function* probeErrors(probe: Probe, path: string, grace: number | undefined): FieldErrors {
  yield* handlerErrors(probe, path, grace)
  for (const name of numbers) yield* notNegative(`${path}.${name}`, probe[name])
  const { terminationGracePeriodSeconds: ownGrace } = probe
  if (ownGrace !== undefined && ownGrace <= 0) {
    yield invalid(`${path}.terminationGracePeriodSeconds`, ownGrace, 'must be greater than 0')
  }
}

/** @param grace the pod's `terminationGracePeriodSeconds` */
export function* lifecycleErrors({ container, path }: PlacedContainer, grace: number | undefined): FieldErrors {
  const { postStart, preStop } = container.lifecycle ?? {}
  if (postStart) yield* handlerErrors(postStart, `${path}.lifecycle.postStart`, grace)
  if (preStop) yield* handlerErrors(preStop, `${path}.lifecycle.preStop`, grace)
}

function* handlerErrors(handler: Handler, path: string, grace: number | undefined): FieldErrors {
  const [first, ...more] = kinds.filter((kind) => handler[kind])
  if (!first) return yield required(path, 'must specify a handler type')
  yield* actionErrors({ [first]: handler[first] }, `${path}.${first}`, grace)
  for (const kind of more) yield forbidden(`${path}.${kind}`, 'may not specify more than 1 handler type')
}

function* actionErrors({ exec, httpGet, tcpSocket, grpc, sleep }: Handler, path: string, grace?: number): FieldErrors {
  if (exec && !exec.command?.length) yield required(`${path}.command`)
  if (httpGet) yield* httpErrors(httpGet, path)
  if (tcpSocket) yield* portOrName(`${path}.port`, tcpSocket.port ?? 0)
  if (grpc) yield* port(`${path}.port`, grpc.port ?? 0)
  if (sleep && grace !== undefined && (sleep.seconds < 0 || sleep.seconds > grace)) {
    const detail = `must be non-negative and less than terminationGracePeriodSeconds (${grace})`
    yield invalid(path, sleep.seconds, detail)
  }
}

function* httpErrors({ path, port: number, scheme, httpHeaders = [] }: HTTPGetAction, at: string): FieldErrors {
  if (!path) yield required(`${at}.path`)
  yield* portOrName(`${at}.port`, number ?? 0)
  yield* oneOf(`${at}.scheme`, scheme, ['HTTP', 'HTTPS'])
  for (const { name = '' } of httpHeaders) {
    for (const detail of headerName(name)) yield invalid(`${at}.httpHeaders`, name, detail)
  }
}

// The paths of the kubelet's server.

import type { MetricsPage } from '../metrics/pages.ts'

/** A pod's container, or a whole pod. */
export interface PodPath {
  namespace: string
  pod: string
  uid?: string
}

/** Where a request goes. */
export type Route =
  | { kind: 'healthz' }
  | { kind: 'pods' }
  | { kind: 'metrics'; page: MetricsPage }
  | { kind: 'summary' }
  | { kind: 'runningPods' | 'configz' | 'flagz' | 'statusz' }
  | { kind: 'logs'; path: string }
  | { kind: 'pprof'; name: string }
  | { kind: 'verbosity' }
  | ({ kind: 'run' | 'checkpoint'; container: string } & PodPath)
  | ({ kind: 'containerLogs'; container: string } & PodPath)
  | ({ kind: 'exec' | 'attach'; container: string } & PodPath)
  | ({ kind: 'portForward' } & PodPath)

const pages: Readonly<Record<string, MetricsPage>> = {
  '': 'kubelet',
  cadvisor: 'cadvisor',
  resource: 'resource',
  probes: 'probes',
  slis: 'slis',
}

/** @returns undefined for a path that is not served, or not with this method */
export function routeOf(method: string, path: string): Route | undefined {
  const [first, ...rest] = path.split('/').slice(1).map(decode)
  const streams = method === 'GET' || method === 'POST'
  if (first === 'exec' || first === 'attach') return streams ? commandRoute(first, rest) : undefined
  if (first === 'portForward') return streams ? portForwardRoute(rest) : undefined
  if (first === 'run' || first === 'checkpoint') return method === 'POST' ? commandRoute(first, rest) : undefined
  if (first === 'debug' && rest.join('/') === 'flags/v') return { kind: 'verbosity' }
  if (method !== 'GET') return undefined
  if (first === 'logs') return { kind: 'logs', path: rest.join('/') }
  if (first === 'containerLogs') return logRoute(rest)
  const [second, ...more] = rest
  if (first === 'debug' && second === 'pprof' && more.length < 2) return { kind: 'pprof', name: more[0] ?? '' }
  if (first === 'pods' && (rest.length === 0 || (second === '' && more.length === 0))) return { kind: 'pods' }
  if (first === 'metrics' && more.length === 0) {
    const page = pages[second ?? '']
    return page && { kind: 'metrics', page }
  }
  if ((first === 'runningpods' || first === 'runningPods') && rest.every((part) => part === ''))
    return { kind: 'runningPods' }
  if ((first === 'configz' || first === 'flagz' || first === 'statusz') && rest.length === 0) return { kind: first }
  if (first === 'stats' && second === 'summary' && more.length === 0) return { kind: 'summary' }
  const checks = [undefined, '', 'ping', 'log', 'syncloop']
  if (first === 'healthz' && more.length === 0 && checks.includes(second)) return { kind: 'healthz' }
  return undefined
}

type CommandKind = 'exec' | 'attach' | 'run' | 'checkpoint'

function commandRoute(kind: CommandKind, parts: readonly string[]): Route | undefined {
  const [namespace, pod, third, fourth] = parts
  if (!namespace || !pod || !third) return undefined
  if (parts.length === 3) return { kind, namespace, pod, container: third }
  return parts.length === 4 && fourth && kind !== 'checkpoint'
    ? { kind, namespace, pod, uid: third, container: fourth }
    : undefined
}

function portForwardRoute(parts: readonly string[]): Route | undefined {
  const [namespace, pod, uid] = parts
  if (!namespace || !pod || parts.length > 3) return undefined
  return { kind: 'portForward', namespace, pod, ...(uid ? { uid } : {}) }
}

function logRoute(parts: readonly string[]): Route | undefined {
  const [namespace, pod, container] = parts
  if (!namespace || !pod || !container || parts.length !== 3) return undefined
  return { kind: 'containerLogs', namespace, pod, container }
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part // no valid escape: taken as it is, it will match nothing
  }
}

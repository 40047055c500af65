// The environment of a container: `$(VAR)` expansion and the variables that announce Services. Pure.
import type { Service } from 'kubernetes-types/core/v1.d.ts'

/**
 * Replaces `$(NAME)` by the first lookup that knows it; an unknown reference stays as written, `$$(NAME)` gives `$(NAME)`.
 * @see https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
 */
export function expand(text: string, ...lookups: ReadonlyMap<string, string>[]): string {
  return text.replace(/\$(?:\$|\(([^)]*)\))/g, (whole, name: string | undefined) => {
    if (name === undefined) return '$'
    return lookups.find((lookup) => lookup.has(name))?.get(name) ?? whole
  })
}

/** `env` entries with plain values, in order: each may refer to what stands before it, then to the Service variables. */
export function literalEnvironment(
  env: readonly { name: string; value?: string }[],
  serviceVariables: ReadonlyMap<string, string> = new Map(),
): Map<string, string> {
  const result = new Map<string, string>()
  for (const { name, value } of env) result.set(name, expand(value ?? '', result, serviceVariables))
  return result
}

/**
 * The variables that tell a pod of the Services in its namespace, and always of `default/kubernetes`.
 * Services without a cluster IP have none.
 * @param enableServiceLinks the pod's `spec.enableServiceLinks`
 */
export function serviceEnvironment(
  services: readonly Service[],
  podNamespace: string,
  enableServiceLinks = true,
): Map<string, string> {
  const result = new Map<string, string>()
  for (const service of services) {
    const { name, namespace } = service.metadata ?? {}
    const master = namespace === 'default' && name === 'kubernetes'
    if (master || (enableServiceLinks && namespace === podNamespace)) {
      for (const [key, value] of variablesOf(service)) result.set(key, value)
    }
  }
  return result
}

function variablesOf(service: Service): [string, string][] {
  const ip = service.spec?.clusterIP
  const ports = service.spec?.ports ?? []
  const first = ports[0]
  if (!ip || ip === 'None' || !first) return []
  const prefix = variableName(service.metadata?.name ?? '')
  const host = ip.includes(':') ? `[${ip}]` : ip
  const url = (port: (typeof ports)[number]) => `${(port.protocol ?? 'TCP').toLowerCase()}://${host}:${port.port}`
  const variables: [string, string][] = [
    [`${prefix}_SERVICE_HOST`, ip],
    [`${prefix}_SERVICE_PORT`, String(first.port)],
  ]
  for (const port of ports)
    if (port.name) variables.push([`${prefix}_SERVICE_PORT_${variableName(port.name)}`, String(port.port)])
  variables.push([`${prefix}_PORT`, url(first)])
  for (const port of ports) {
    const stem = `${prefix}_PORT_${port.port}_${port.protocol ?? 'TCP'}`
    const protocol = (port.protocol ?? 'TCP').toLowerCase()
    variables.push(
      [stem, url(port)],
      [`${stem}_PROTO`, protocol],
      [`${stem}_PORT`, String(port.port)],
      [`${stem}_ADDR`, ip],
    )
  }
  return variables
}

const variableName = (name: string): string => name.toUpperCase().replaceAll('-', '_')

// What two answers have in common: everything but what differs from run to run.

/** Recorded uids and resource versions to one's own. */
export type Known = Map<string, string>

const varying = new Set([
  'uid',
  'resourceVersion',
  'creationTimestamp',
  'deletionTimestamp',
  'startTime',
  'expirationTimestamp',
  'token',
  'nodePort',
  'healthCheckNodePort',
  'clusterIP',
  'clusterIPs',
  'continue',
])

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Every namespace has these from the beginning; the recorded server had no controller that makes them. */
const isFurniture = (value: unknown): boolean =>
  isObject(value) && isObject(value.metadata) && value.metadata.name === 'kube-root-ca.crt'

export function shape(value: unknown, key = ''): unknown {
  if (typeof value === 'string') return varying.has(key) && value !== 'None' && value !== '' ? `<${key}>` : text(value)
  if (typeof value === 'number') return varying.has(key) ? 0 : value
  if (Array.isArray(value)) return value.filter((one: unknown) => !isFurniture(one)).map((one) => shape(one, key))
  if (!isObject(value)) return value
  // A cluster of another maker has its own source here.
  const sources = value.sources
  const rest = Object.entries(value).filter(([name]) => name !== 'managedFields')
  const entries = rest.map(([name, one]): [string, unknown] => {
    if (name === 'sources' && Array.isArray(sources)) {
      return [name, shape(sources.filter((source) => !JSON.stringify(source).includes('openshift-service-ca.crt')))]
    }
    if (name === 'columnDefinitions' && Array.isArray(one)) {
      return [name, one.map((column: Record<string, unknown>) => ({ name: column.name, priority: column.priority }))]
    }
    // A name made from a prefix.
    const prefix = value.generateName
    if (name === 'name' && typeof prefix === 'string') return [name, `${prefix}<suffix>`]
    return [name, shape(one, name)]
  })
  return Object.fromEntries(entries)
}

const text = (value: string): string =>
  value
    .replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, '<uuid>')
    .replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/g, '<time>')
    .replaceAll(/10\.96\.\d+\.\d+/g, '<ip>')
    .replaceAll(/:3[0-2]\d{3}\//g, ':<port>/')
    .replaceAll(/^\d+[smhd]$/g, '<age>')
    .replaceAll(/kubernetes\.default\.svc(\.cluster\.local)?\b/g, 'kubernetes.default.svc')
    .replaceAll(/kube-api-access-[a-z0-9]{5}/g, 'kube-api-access-<suffix>')

/** Walks both answers and notes which identity stands for which. */
export function learn(recorded: unknown, own: unknown, known: Known): void {
  if (Array.isArray(recorded) && Array.isArray(own)) {
    for (const [index, one] of recorded.entries()) learn(one, own[index], known)
  } else if (isObject(recorded) && isObject(own)) {
    for (const [key, one] of Object.entries(recorded)) {
      const other = own[key]
      if (
        (key === 'uid' || key === 'resourceVersion' || key === 'token') &&
        typeof one === 'string' &&
        typeof other === 'string'
      ) {
        known.set(`${key}:${one}`, other)
      } else learn(one, other, known)
    }
  }
}

/** Leaves out what requests of a subresource that is not served would have changed. */
export function withoutEphemeral(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((one) => withoutEphemeral(one))
  if (!isObject(value)) return value
  const rest = Object.entries(value).filter(([name]) => name !== 'ephemeralContainers' && name !== 'generation')
  return Object.fromEntries(rest.map(([name, one]) => [name, withoutEphemeral(one)]))
}

export function substitute(value: unknown, known: Known, key = ''): unknown {
  if (typeof value === 'string') return known.get(`${key}:${value}`) ?? value
  if (Array.isArray(value)) return value.map((one) => substitute(one, known, key))
  if (!isObject(value)) return value
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, substitute(one, known, name)]))
}

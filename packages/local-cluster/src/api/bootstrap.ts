// What every cluster has from the beginning, and every namespace.
import { kindOf, storeName } from '../kinds/kinds.ts'
import { firstServiceIP } from '../kinds/services.ts'
import type { ApiObject, Fields } from '../object.ts'
import type { Store } from '../store.ts'
import { ApiError } from './errors.ts'
import type { Resources, WriteOptions } from './resources.ts'

const namespaces = ['default', 'kube-system', 'kube-public', 'kube-node-lease']
const options = {
  user: { name: 'system:apiserver', groups: ['system:masters'] },
  dryRun: false,
  validation: 'Ignore',
  warn: (): void => {},
} satisfies WriteOptions

/** Makes what is missing now and, until disposed, in each namespace that comes. @param ca PEM that pods trust */
export function bootstrap(
  store: Store,
  resources: Resources,
  { ca, serviceCidr, port, address }: { ca: string; serviceCidr: string; port: number; address: string },
): Disposable {
  const ensure = (resource: string, namespace: string | undefined, body: Fields): void => {
    const kind = kindOf(resource)
    const { name } = body.metadata as { name: string }
    if (store.get(storeName(kind), namespace ?? '', name)) return
    try {
      resources.create(kind, namespace, body, options)
    } catch (error) {
      if (!(error instanceof ApiError && [409, 403, 404].includes(error.status.code))) throw error
    }
  }
  const furnish = ({ metadata: { name } }: ApiObject): void => {
    ensure('serviceaccounts', name, { metadata: { name: 'default' } })
    ensure('configmaps', name, { metadata: { name: 'kube-root-ca.crt' }, data: { 'ca.crt': ca } })
  }
  for (const name of namespaces) ensure('namespaces', undefined, { metadata: { name } })
  for (const namespace of store.list('namespaces')) if (!namespace.metadata.deletionTimestamp) furnish(namespace)
  const labels = { component: 'apiserver', provider: 'kubernetes' }
  const httpsPort = 443
  ensure('services', 'default', {
    metadata: { name: 'kubernetes', labels },
    spec: {
      clusterIP: firstServiceIP(serviceCidr),
      ports: [{ name: 'https', port: httpsPort, targetPort: port, protocol: 'TCP' }],
    },
  })
  // Pods can't reach a server on loopback: its Service has no endpoint then.
  if (!address.startsWith('127.') && address !== '::1')
    ensure('endpointslices', 'default', {
      metadata: { name: 'kubernetes', labels: { 'kubernetes.io/service-name': 'kubernetes' } },
      addressType: 'IPv4',
      endpoints: [{ addresses: [address], conditions: { ready: true } }],
      ports: [{ name: 'https', port, protocol: 'TCP' }],
    })
  const stop = store.subscribe('namespaces', ({ type, object }) => {
    if (type === 'ADDED') furnish(object)
  })
  return { [Symbol.dispose]: stop }
}

// Bootstrap tokens: Secrets of kube-system by which nodes that join are known until they have a certificate.
import { timingSafeEqual } from 'node:crypto'
import type { UserInfo } from './api/user.ts'
import { isFields } from './object.ts'
import type { Store } from './store.ts'

const form = /^([a-z0-9]{6})\.([a-z0-9]{16})$/
const groupForm = /^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$/

/** Undefined when it is no such token, is not known, has expired, or is not for authentication. */
export function bootstrapUser(store: Store, token: string): UserInfo | undefined {
  const [, id, secret] = form.exec(token) ?? []
  if (id === undefined || secret === undefined) return undefined
  const found = store.get('secrets', 'kube-system', `bootstrap-token-${id}`)
  if (!found || found.type !== 'bootstrap.kubernetes.io/token' || found.metadata.deletionTimestamp) return undefined
  const data = isFields(found.data) ? found.data : {}
  const text = (key: string): string => Buffer.from(String(data[key] ?? ''), 'base64').toString('utf8')
  const stored = Buffer.from(text('token-secret'))
  const isSame = stored.length === Buffer.byteLength(secret) && timingSafeEqual(stored, Buffer.from(secret))
  if (text('token-id') !== id || !isSame || text('usage-bootstrap-authentication') !== 'true') return undefined
  const expires = text('expiration')
  if (expires !== '' && !(Date.parse(expires) > Date.now())) return undefined
  const extra = text('auth-extra-groups')
    .split(',')
    .filter((group) => group !== '')
  if (!extra.every((group) => groupForm.test(group))) return undefined
  return { name: `system:bootstrap:${id}`, groups: ['system:bootstrappers', ...extra, 'system:authenticated'] }
}

// Who a request is from, and what they may do.
import { createPrivateKey, createPublicKey, randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Http2Stream } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import { jwtVerify, SignJWT } from 'jose'
import type { JWTPayload } from 'jose'
import { issuer } from './api/subresources.ts'
import type { Identity } from './api/subresources.ts'
import type { Attributes, UserInfo } from './api/user.ts'
import { bootstrapUser } from './bootstrap-token.ts'
import type { Store } from './store.ts'

/** What a token of a service account says beside the standard claims. */
interface Claims extends JWTPayload {
  'kubernetes.io'?: {
    namespace: string
    serviceaccount: { name: string; uid: string }
    pod?: { name: string; uid: string }
    secret?: { name: string; uid: string }
  }
}

/** Users by client certificate, service accounts by token. @param keys PEM */
export function createIdentity(
  store: Store,
  keys: { privateKey: string; publicKey: string },
): Identity & { authenticate(request: IncomingMessage): Promise<UserInfo | undefined> } {
  const [privateKey, publicKey] = [createPrivateKey(keys.privateKey), createPublicKey(keys.publicKey)]

  /** Undefined when the token is not good: not ours, over, or of something that is gone. */
  const userOf = async (token: string, audiences: readonly string[]): Promise<UserInfo | undefined> => {
    let claims: Claims
    try {
      const wanted = audiences.length > 0 ? [...audiences] : [issuer]
      claims = (await jwtVerify(token, publicKey, { issuer, audience: wanted, algorithms: ['ES256'] })).payload
    } catch {
      return undefined // why is not told to who comes with a bad token
    }
    const own = claims['kubernetes.io']
    if (!own) return undefined
    const { namespace, serviceaccount, pod, secret } = own
    const lives = (resource: string, one: { name: string; uid: string } | undefined): boolean =>
      !one || store.get(resource, namespace, one.name)?.metadata.uid === one.uid
    if (!lives('serviceaccounts', serviceaccount) || !lives('pods', pod) || !lives('secrets', secret)) return undefined
    const name = `system:serviceaccount:${namespace}:${serviceaccount.name}`
    const prefix = 'authentication.kubernetes.io'
    return {
      name,
      uid: serviceaccount.uid,
      groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'],
      extra: {
        ...(claims.jti !== undefined && { [`${prefix}/credential-id`]: [`JTI=${claims.jti}`] }),
        ...(pod && { [`${prefix}/pod-name`]: [pod.name], [`${prefix}/pod-uid`]: [pod.uid] }),
      },
    }
  }

  return {
    authenticate: async (request) => {
      const user = certificateUser(request)
      if (user) return user
      const token = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1]
      return token === undefined ? undefined : (bootstrapUser(store, token) ?? (await userOf(token, [])))
    },
    authorize: async (user, attributes) => decide(user, attributes),
    issueToken: async (account, { audiences, expirationSeconds = 3600 }, bound) => {
      const { name = '', namespace = '', uid = '' } = account.metadata ?? {}
      const now = Math.floor(Date.now() / 1000)
      const claims: Claims = {
        'kubernetes.io': {
          namespace,
          serviceaccount: { name, uid },
          ...(bound && { [bound.kind.toLowerCase()]: { name: bound.name, uid: bound.uid } }),
        },
      }
      const token = await new SignJWT(claims)
        .setProtectedHeader({ alg: 'ES256' })
        .setIssuer(issuer)
        .setSubject(`system:serviceaccount:${namespace}:${name}`)
        .setAudience(audiences.length > 0 ? audiences : [issuer])
        .setIssuedAt(now)
        .setNotBefore(now)
        .setExpirationTime(now + expirationSeconds)
        .setJti(randomUUID())
        .sign(privateKey)
      return {
        token,
        expirationTimestamp: new Date((now + expirationSeconds) * 1000).toISOString().replace('.000', ''),
      }
    },
    reviewToken: async (token, audiences) => {
      const user = await userOf(token, audiences)
      if (!user) return { user: {}, error: 'invalid bearer token' }
      const { name, uid, groups, extra } = user
      return {
        authenticated: true,
        user: { username: name, ...(uid !== undefined && { uid }), groups, ...(extra && { extra }) },
        audiences: audiences.length > 0 ? [...audiences] : [issuer],
      }
    },
  }
}

/** A connection shows one certificate: to read it anew for each request costs more than most answers. */
const ofConnections = new WeakMap<object, UserInfo>()

/** TLS has checked the certificate against the CA. */
function certificateUser(request: IncomingMessage & { stream?: Http2Stream }): UserInfo | undefined {
  const socket = request.socket as TLSSocket
  if (!socket.authorized) return undefined
  // With HTTP/2, each request has a socket object of its own.
  const connection = request.stream?.session ?? socket
  const known = ofConnections.get(connection)
  if (known) return known
  const { subject } = socket.getPeerCertificate()
  const [name] = [subject?.CN].flat()
  if (name === undefined) return undefined
  const user = { name, groups: [...[subject.O ?? []].flat(), 'system:authenticated'] }
  ofConnections.set(connection, user)
  return user
}

const trusted = ['system:masters', 'system:nodes']
const reviews = ['selfsubjectaccessreviews', 'selfsubjectreviews']

/** Who runs the machine may do all; service accounts may only ask about themselves: there is no RBAC here to allow more. */
function decide(user: UserInfo, { resource, verb }: Attributes): { allowed: boolean; reason?: string } {
  if (user.groups.some((group) => trusted.includes(group))) return { allowed: true }
  if (user.name === 'system:kube-proxy')
    return { allowed: ['get', 'list', 'watch'].includes(verb) || resource === 'events' }
  // Who joins asks for a certificate, and follows what becomes of that.
  if (user.groups.includes('system:bootstrappers') && resource === 'certificatesigningrequests')
    return { allowed: ['create', 'get', 'list', 'watch'].includes(verb) }
  if (user.groups.includes('system:authenticated') && (resource === '' || reviews.includes(resource)))
    return { allowed: true }
  return { allowed: false }
}

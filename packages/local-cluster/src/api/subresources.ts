// Subresources that are not the object itself: scale, binding, eviction, tokens, reviews.
import type { TokenRequest, TokenReview } from 'kubernetes-types/authentication/v1.d.ts'
import type { ServiceAccount } from 'kubernetes-types/core/v1.d.ts'
import { kindOf } from '../kinds/kinds.ts'
import { fieldsAt, isFields, listAt, timeNow } from '../object.ts'
import type { ApiObject, Fields } from '../object.ts'
import { badRequest, conflict, invalid, invalidValue, notFound } from './errors.ts'
import { applyJsonPatch, applyStrategicPatch } from './patch.ts'
import type { Resources, Target, WriteOptions } from './resources.ts'
import type { Attributes, UserInfo } from './user.ts'
import { applyMergePatch } from '@nodelet/kube-client'

/** Who signs tokens of service accounts, and the audience that they are for when none is asked. */
export const issuer = 'https://kubernetes.default.svc.cluster.local'

/** What the server asks of those who know users and tokens. */
export interface Identity {
  issueToken(
    account: ServiceAccount,
    spec: TokenRequest['spec'],
    bound?: { kind: string; name: string; uid: string },
  ): Promise<NonNullable<TokenRequest['status']>>
  reviewToken(token: string, audiences: readonly string[]): Promise<NonNullable<TokenReview['status']>>
  authorize(user: UserInfo, attributes: Attributes): Promise<{ allowed: boolean; reason?: string }>
}

/** `autoscaling/v1 Scale` of a Deployment or ReplicaSet. */
export function scaleOf(object: ApiObject): ApiObject {
  const spec = fieldsAt(structuredClone(object), 'spec')
  const status = isFields(object.status) ? object.status : {}
  const selector = isFields(spec.selector) && isFields(spec.selector.matchLabels) ? spec.selector.matchLabels : {}
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: {
      name,
      ...(namespace !== undefined && { namespace }),
      ...(uid !== undefined && { uid }),
      ...(resourceVersion !== undefined && { resourceVersion }),
      ...(creationTimestamp !== undefined && { creationTimestamp }),
    },
    spec: { replicas: spec.replicas ?? 0 },
    status: {
      replicas: status.replicas ?? 0,
      selector: Object.entries(selector)
        .map(([key, value]) => `${key}=${String(value)}`)
        .join(','),
    },
  }
}

/** Sets `spec.replicas` through the scale subresource. @param type of a patch; absent: `body` is a whole Scale */
export function changeScale(
  resources: Resources,
  target: Target,
  body: unknown,
  type: string | undefined,
  options: WriteOptions,
): ApiObject {
  const before = scaleOf(resources.get(target))
  const wanted =
    type === undefined
      ? body
      : type === 'application/json-patch+json'
        ? applyJsonPatch(before, body)
        : type === 'application/strategic-merge-patch+json'
          ? applyStrategicPatch(before, body, undefined)
          : applyMergePatch(before, body)
  const replicas = isFields(wanted) && isFields(wanted.spec) ? (wanted.spec.replicas ?? 0) : undefined
  if (typeof replicas !== 'number' || !Number.isInteger(replicas) || replicas < 0) {
    throw invalid({ group: 'autoscaling', resource: 'scales', kind: 'Scale' }, target.name, [
      invalidValue('spec.replicas', replicas, 'must be greater than or equal to 0'),
    ])
  }
  const version = isFields(wanted) && isFields(wanted.metadata) ? wanted.metadata.resourceVersion : undefined
  const metadata =
    version !== undefined && version !== before.metadata.resourceVersion ? { resourceVersion: version } : {}
  return scaleOf(
    resources.patch(target, undefined, 'application/merge-patch+json', { metadata, spec: { replicas } }, options),
  )
}

/** Assigns a pod to a node. */
export function bind(resources: Resources, target: Target, body: Fields): object {
  const node = isFields(body.target) && typeof body.target.name === 'string' ? body.target.name : ''
  if (node === '') throw badRequest('Binding: target.name: Required value')
  const { spec, metadata } = resources.get(target)
  const refuse = (why: string): Error => conflict({ ...target.kind, resource: 'pods/binding' }, target.name, why)
  if (metadata.deletionTimestamp) throw refuse(`pod ${target.name} is being deleted, cannot be assigned to a host`)
  if (isFields(spec) && spec.nodeName) {
    throw refuse(`pod ${target.name} is already assigned to node "${String(spec.nodeName)}"`)
  }
  resources.edit(target, (pod) => {
    fieldsAt(pod, 'spec').nodeName = node
    const status = fieldsAt(pod, 'status')
    const others = listAt(status, 'conditions').filter(({ type }) => type !== 'PodScheduled')
    status.conditions = [
      ...others,
      { type: 'PodScheduled', status: 'True', lastProbeTime: null, lastTransitionTime: timeNow() },
    ]
  })
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 }
}

/** Deletes a pod as an eviction asks. There are no disruption budgets here. */
export function evict(resources: Resources, target: Target, body: Fields): object {
  const { deleteOptions } = body
  resources.remove(target, isFields(deleteOptions) ? deleteOptions : {})
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 }
}

const shortestToken = 600
const longestToken = 2 ** 32

export async function requestToken(
  resources: Resources,
  identity: Identity,
  target: Target,
  body: Fields,
): Promise<object> {
  const account = resources.get(target)
  const spec = fieldsAt(body, 'spec')
  const seconds = typeof spec.expirationSeconds === 'number' ? spec.expirationSeconds : 3600
  const named = { group: 'authentication.k8s.io', resource: 'tokenrequests', kind: 'TokenRequest' }
  if (seconds < shortestToken) {
    throw invalid(named, '', [
      invalidValue('spec.expirationSeconds', seconds, 'may not specify a duration less than 10 minutes'),
    ])
  }
  if (seconds > longestToken) {
    throw invalid(named, '', [
      invalidValue('spec.expirationSeconds', seconds, 'may not specify a duration larger than 2^32 seconds'),
    ])
  }
  const asked = Array.isArray(spec.audiences) ? (spec.audiences as string[]) : []
  const audiences = asked.length > 0 ? asked : [issuer]
  const status = await identity.issueToken(
    account as unknown as ServiceAccount,
    { audiences, expirationSeconds: seconds },
    boundObject(resources, target, spec.boundObjectRef),
  )
  return {
    kind: 'TokenRequest',
    apiVersion: 'authentication.k8s.io/v1',
    metadata: {
      name: target.name,
      namespace: target.namespace,
      uid: account.metadata.uid,
      creationTimestamp: timeNow(),
    },
    spec: { audiences, expirationSeconds: seconds, boundObjectRef: spec.boundObjectRef ?? null },
    status,
  }
}

function boundObject(
  resources: Resources,
  { namespace }: Target,
  reference: unknown,
): { kind: string; name: string; uid: string } | undefined {
  if (!isFields(reference)) return undefined
  const [kind, name, uid] = [String(reference.kind), String(reference.name), reference.uid]
  if (kind !== 'Pod' && kind !== 'Secret') throw badRequest(`cannot bind token for serviceaccount to type ${kind}`)
  const target = { kind: kindOf(kind === 'Pod' ? 'pods' : 'secrets'), namespace, name }
  const found = resources.get(target)
  if (uid !== undefined && uid !== found.metadata.uid) throw notFound(target.kind, name)
  return { kind, name, uid: found.metadata.uid ?? '' }
}

/** Reviews: create-only objects that answer a question. */
export async function review(resource: string, body: Fields, user: UserInfo, identity: Identity): Promise<Fields> {
  const spec = fieldsAt(body, 'spec')
  switch (resource) {
    case 'tokenreviews': {
      const audiences = Array.isArray(spec.audiences) ? (spec.audiences as string[]) : []
      return { ...body, status: await identity.reviewToken(String(spec.token ?? ''), audiences) }
    }
    case 'selfsubjectreviews':
      return {
        kind: body.kind,
        apiVersion: body.apiVersion,
        metadata: { creationTimestamp: timeNow() },
        status: { userInfo: { username: user.name, ...withoutName(user) } },
      }
    case 'selfsubjectaccessreviews':
      return { ...body, status: await identity.authorize(user, attributesOf(spec)) }
    default: {
      const groups = Array.isArray(spec.groups) ? (spec.groups as string[]) : []
      return {
        ...body,
        status: await identity.authorize({ name: String(spec.user ?? ''), groups }, attributesOf(spec)),
      }
    }
  }
}

const withoutName = ({ name: _, ...rest }: UserInfo): object => rest

function attributesOf(spec: Fields): Attributes {
  const asked = isFields(spec.resourceAttributes) ? spec.resourceAttributes : {}
  const path = isFields(spec.nonResourceAttributes) ? spec.nonResourceAttributes : {}
  const word = (value: unknown): string => (typeof value === 'string' ? value : '')
  return {
    verb: word(asked.verb) || word(path.verb),
    group: word(asked.group),
    resource: word(asked.resource),
    ...(asked.subresource ? { subresource: word(asked.subresource) } : {}),
    ...(asked.namespace ? { namespace: word(asked.namespace) } : {}),
    ...(asked.name ? { name: word(asked.name) } : {}),
  }
}

// CertificateSigningRequests: who asks is written by the server, and each subresource changes its own part. Pure.
import { invalidValue, required } from '../api/errors.ts'
import type { FieldProblem } from '../api/errors.ts'
import type { UserInfo } from '../api/user.ts'
import { fieldsAt, isFields, listAt, timeNow } from '../object.ts'
import type { ApiObject, Fields } from '../object.ts'
import { signerNameProblems } from './pod-certificates.ts'

/** Of a new request. */
export function completeRequest(object: ApiObject, { name, uid, groups, extra }: UserInfo): void {
  const spec = fieldsAt(object, 'spec')
  for (const key of ['username', 'uid', 'groups', 'extra']) delete spec[key]
  Object.assign(spec, { username: name, ...(uid && { uid }), groups, ...(extra && { extra }) })
}

const judging = new Set(['Approved', 'Denied'])
const isJudgment = ({ type }: Fields): boolean => judging.has(String(type))
const statusOf = ({ status }: ApiObject): Fields => (isFields(status) ? status : {})

/** After a write of `approval`: only what approves or denies is others than before. */
export function approved(before: ApiObject, wanted: ApiObject): ApiObject {
  return withConditions(before, wanted, [
    ...listAt(statusOf(before), 'conditions').filter((one) => !isJudgment(one)),
    ...listAt(statusOf(wanted), 'conditions').filter(isJudgment),
  ])
}

/** After a write of `status`: all else. */
export function signed(before: ApiObject, wanted: ApiObject): ApiObject {
  const { certificate } = statusOf(wanted)
  const after = withConditions(before, wanted, [
    ...listAt(statusOf(before), 'conditions').filter(isJudgment),
    ...listAt(statusOf(wanted), 'conditions').filter((one) => !isJudgment(one)),
  ])
  if (certificate !== undefined) fieldsAt(after, 'status').certificate = certificate
  return after
}

function withConditions(before: ApiObject, { metadata }: ApiObject, conditions: readonly Fields[]): ApiObject {
  const old = listAt(statusOf(before), 'conditions')
  const now = timeNow()
  const timed = conditions.map((one) => {
    const known = old.find(({ type }) => type === one.type)
    const changed = known?.status === one.status ? known?.lastTransitionTime : undefined
    return { ...one, lastUpdateTime: one.lastUpdateTime ?? now, lastTransitionTime: changed ?? now }
  })
  const copy = structuredClone(before)
  return { ...copy, metadata, status: { ...statusOf(copy), ...(timed.length > 0 && { conditions: timed }) } }
}

const shortestSeconds = 600

export function certificateProblems(spec: Fields): FieldProblem[] {
  const { request, signerName, usages, expirationSeconds } = spec
  const problems: FieldProblem[] = []
  const text = typeof request === 'string' ? Buffer.from(request, 'base64').toString('latin1') : ''
  if (!/^-----BEGIN CERTIFICATE REQUEST-----\r?$/m.test(text)) {
    problems.push(invalidValue('spec.request', request ?? '', 'PEM block type must be CERTIFICATE REQUEST'))
  }
  if (!Array.isArray(usages) || usages.length === 0) problems.push(required('spec.usages'))
  problems.push(...signerNameProblems(signerName, 'spec.signerName'))
  if (typeof expirationSeconds === 'number' && expirationSeconds < shortestSeconds) {
    const text = 'may not specify a duration less than 600 seconds (10 minutes)'
    problems.push(invalidValue('spec.expirationSeconds', expirationSeconds, text))
  }
  return problems
}

/** A request that was approved stays so, and is not denied as well. */
export function certificateChangeProblems(before: ApiObject, after: ApiObject): FieldProblem[] {
  const types = (object: ApiObject): string[] => listAt(statusOf(object), 'conditions').map(({ type }) => String(type))
  const [old, now] = [types(before), types(after)]
  const removed = old.filter((type) => !now.includes(type))
  if (removed.length > 0) {
    return removed.map((type) =>
      invalidValue('status.conditions', type, `updates may not remove a condition of type "${type}"`),
    )
  }
  const both = now.includes('Approved') && now.includes('Denied')
  return both
    ? [invalidValue('status.conditions', 'Denied', 'Approved and Denied conditions are mutually exclusive')]
    : []
}

// PodCertificateRequests: what may be asked, and what a signer may make of it. Pure.
import { constants, createPublicKey, type KeyObject, verify, X509Certificate } from 'node:crypto'
import { invalidValue, required, tooLong, unsupported } from '../api/errors.ts'
import type { FieldProblem } from '../api/errors.ts'
import { listAt, partOf, sameJson } from '../object.ts'
import type { ApiObject, Fields } from '../object.ts'
import { longestName, subdomain, subdomainText } from './names.ts'
import { provenKey } from './pkcs10.ts'

const keyTypes = ['RSA3072', 'RSA4096', 'ECDSAP256', 'ECDSAP384', 'ECDSAP521', 'ED25519']
/** Seconds: an hour, a day and 91 days. */
const [shortest, day, longest] = [3600, 86_400, 7_862_400]
const longestUid = 128
const longestMaterial = 10 * 1024
const longestChain = 100 * 1024

/** Of `signerName`, wherever it is. */
export function signerNameProblems(name: unknown, at: string): FieldProblem[] {
  if (typeof name !== 'string' || name === '') return [required(at)]
  const form = 'must be a fully qualified domain and path of the form "example.com/signer-name"'
  return /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?\/[^/]+$/i.test(name) ? [] : [invalidValue(at, name, form)]
}

/** Of a source of a pod's volume. */
export function podCertificateSourceProblems(source: Fields, at: string): FieldProblem[] {
  const { signerName, keyType, maxExpirationSeconds: seconds } = source
  const paths = ['credentialBundlePath', 'keyPath', 'certificateChainPath']
  return [
    ...signerNameProblems(signerName, `${at}.signerName`),
    ...(keyTypes.includes(String(keyType)) ? [] : [unsupported(`${at}.keyType`, keyType ?? '', keyTypes)]),
    ...(seconds === undefined ? [] : wishedLifeProblems(signerName, Number(seconds), `${at}.maxExpirationSeconds`)),
    ...(paths.some((path) => source[path]) ? [] : [required(at, `specify at least one of ${paths.join(', ')}`)]),
  ]
}

/** Those of Kubernetes sign for a day at most. */
const longestOf = (signerName: unknown): number =>
  /^([^/]+\.)?kubernetes\.io\//.test(String(signerName)) ? day : longest

function wishedLifeProblems(signerName: unknown, seconds: number, at: string): FieldProblem[] {
  const most = longestOf(signerName)
  const limit = seconds < shortest ? `>= ${shortest}` : seconds > most ? `<= ${most}` : undefined
  return limit ? [invalidValue(at, seconds, `if provided, maxExpirationSeconds must be ${limit}`)] : []
}

function lifeProblems(signerName: unknown, seconds: unknown, at: string): FieldProblem[] {
  const most = longestOf(signerName)
  const isIn = typeof seconds === 'number' && seconds >= shortest && seconds <= most
  return isIn ? [] : [invalidValue(at, seconds, `must be in the range [${shortest}, ${most}]`)]
}

export function podCertificateProblems(spec: Fields): FieldProblem[] {
  const { signerName, maxExpirationSeconds } = spec
  return [
    ...signerNameProblems(signerName, 'spec.signerName'),
    ...['podName', 'serviceAccountName', 'nodeName'].flatMap((field) => nameProblems(spec[field], `spec.${field}`)),
    ...['podUID', 'serviceAccountUID', 'nodeUID'].flatMap((field) => uidProblems(spec[field], `spec.${field}`)),
    ...annotationProblems(partOf(spec, 'unverifiedUserAnnotations'), 'spec.unverifiedUserAnnotations'),
    ...lifeProblems(signerName, maxExpirationSeconds, 'spec.maxExpirationSeconds'),
    ...materialProblems(spec),
  ]
}

function nameProblems(name: unknown, at: string): FieldProblem[] {
  const isName = typeof name === 'string' && name.length <= longestName && new RegExp(`^${subdomain}$`).test(name)
  return isName ? [] : [invalidValue(at, name ?? '', subdomainText)]
}

function uidProblems(uid: unknown, at: string): FieldProblem[] {
  if (typeof uid !== 'string' || uid === '') return [invalidValue(at, uid ?? '', 'must not be empty')]
  return uid.length > longestUid ? [tooLong(at, longestUid)] : []
}

/** Whoever reads them finds each by a domain. */
function annotationProblems(annotations: Fields, at: string): FieldProblem[] {
  const prefixed = new RegExp(`^${subdomain}/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`, 'i')
  return Object.keys(annotations)
    .filter((key) => !prefixed.test(key))
    .map((key) => invalidValue(at, key, 'must be a domain-prefixed key (such as "acme.io/foo")'))
}

/** The key, and whether who asks has it. */
function materialProblems(spec: Fields): FieldProblem[] {
  const fields = ['stubPKCS10Request', 'pkixPublicKey', 'proofOfPossession']
  const [stub = '', key = '', proof = ''] = fields.map((field) => String(spec[field] ?? ''))
  const large = fields.filter((field) => Buffer.from(String(spec[field] ?? ''), 'base64').length > longestMaterial)
  if (large.length > 0) return large.map((field) => tooLong(`spec.${field}`, longestMaterial))
  if (stub !== '' && key === '' && proof === '') {
    const at = 'spec.stubPKCS10Request'
    const proven = guarded(() => provenKey(Buffer.from(stub, 'base64')))
    return proven instanceof Error
      ? [invalidValue(at, stub, `must be a valid PKCS#10 request: ${proven.message}`)]
      : keyProblems(proven, at)
  }
  if (stub !== '' || key === '' || proof === '') {
    const which = 'exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set'
    return [invalidValue('spec', '<value omitted>', which)]
  }
  const at = 'spec.pkixPublicKey'
  const parsed = guarded(() => publicKeyOf(key))
  if (parsed instanceof Error) return [invalidValue(at, key, 'must be a valid PKIX-serialized public key')]
  const problems = keyProblems(parsed, at)
  if (problems.length > 0 || isProof(parsed, String(spec.podUID), Buffer.from(proof, 'base64'))) return problems
  return [invalidValue('spec.proofOfPossession', '<value omitted>', 'could not verify proof-of-possession signature')]
}

function guarded<T>(read: () => T): T | Error {
  try {
    return read()
  } catch (error) {
    return error as Error
  }
}

const publicKeyOf = (base64: string): KeyObject =>
  createPublicKey({ key: Buffer.from(base64, 'base64'), format: 'der', type: 'spki' })

/** @param proof of the pod's UID, as Go signs it */
function isProof(key: KeyObject, podUid: string, proof: Buffer): boolean {
  const padding = key.asymmetricKeyType === 'rsa' ? { padding: constants.RSA_PKCS1_PSS_PADDING } : {}
  return verify(
    key.asymmetricKeyType === 'ed25519' ? undefined : 'sha256',
    Buffer.from(podUid),
    { key, ...padding, saltLength: constants.RSA_PSS_SALTLEN_AUTO },
    proof,
  )
}

const curves = ['prime256v1', 'secp384r1', 'secp521r1']

function keyProblems(
  { asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject,
  at: string,
): FieldProblem[] {
  const { namedCurve = '', modulusLength = 0 } = details ?? {}
  switch (type) {
    case 'ed25519':
      return []
    case 'ec':
      return curves.includes(namedCurve)
        ? []
        : [invalidValue(at, `curve ${namedCurve}`, 'elliptic public keys must use curve P256, P384, or P521')]
    case 'rsa':
      return [3072, 4096].includes(modulusLength)
        ? []
        : [invalidValue(at, `${modulusLength}-bit modulus`, 'RSA keys must have modulus size 3072 or 4096')]
    default:
      return [invalidValue(at, type, 'unknown public key type; supported types are Ed25519, ECDSA, and RSA')]
  }
}

const types = ['Issued', 'Denied', 'Failed']
const decisionOf = (status: Fields): string | undefined =>
  listAt(status, 'conditions')
    .map(({ type }) => String(type))
    .find((type) => types.includes(type))

/** What is asked stays as it is; a signer decides once. @param nowMs milliseconds since the epoch */
export function podCertificateChangeProblems(
  before: ApiObject,
  after: ApiObject,
  nowMs: number = Date.now(),
): FieldProblem[] {
  if (!sameJson(before.spec, after.spec)) return [invalidValue('spec', after.spec, 'field is immutable')]
  const [old, now] = [partOf(before, 'status'), partOf(after, 'status')]
  const problems = conditionProblems(now)
  if (problems.length > 0 || sameJson(old, now)) return problems
  const refuse = (why: string): FieldProblem[] => [invalidValue('status', '<value omitted>', why)]
  if (decisionOf(old)) return refuse('immutable after PodCertificateRequest is issued, denied, or failed')
  const { conditions: _, ...rest } = now
  switch (decisionOf(now)) {
    case 'Issued':
      return issueProblems(partOf(before, 'spec'), now, nowMs)
    case undefined:
      return refuse('status is immutable unless transitioning to "Issued", "Denied", or "Failed"')
    default:
      return Object.keys(rest).length === 0
        ? []
        : refuse('non-condition status fields must be empty when denying or failing the PodCertificateRequest')
  }
}

function conditionProblems(status: Fields): FieldProblem[] {
  return listAt(status, 'conditions').flatMap(({ type, status: value, reason, lastTransitionTime }, index) => {
    const at = `status.conditions[${index}]`
    if (!types.includes(String(type))) return [unsupported(`${at}.type`, type ?? '', types)]
    const only = 'There may be at most one condition with type "Issued", "Denied", or "Failed"'
    return [
      ...(index > 0 ? [invalidValue(`${at}.type`, type, only)] : []),
      ...(value === 'True' ? [] : [unsupported(`${at}.status`, value ?? '', ['True'])]),
      ...(reason ? [] : [required(`${at}.reason`)]),
      ...(lastTransitionTime ? [] : [required(`${at}.lastTransitionTime`)]),
    ]
  })
}

const minuteMs = 60_000
const certificateBlock = /-----BEGIN ([A-Z0-9 ]+)-----[\s\S]*?-----END \1-----/g

/** Of what a signer issues. */
function issueProblems(spec: Fields, status: Fields, nowMs: number): FieldProblem[] {
  const at = 'status.certificateChain'
  const text = String(status.certificateChain ?? '')
  if (text.length > longestChain) return [tooLong(at, longestChain)]
  const refuse = (why: string): FieldProblem[] => [invalidValue(at, text, why)]
  const blocks = [...text.matchAll(certificateBlock)]
  if (blocks.length === 0) return refuse('issued certificate chain must contain at least one certificate')
  if (blocks.some(([, type]) => type !== 'CERTIFICATE')) {
    return refuse('issued certificate chain must consist entirely of CERTIFICATE PEM blocks')
  }
  const [leaf, ...others] = blocks.map(([pem]) => guarded(() => new X509Certificate(pem)))
  if (!leaf || leaf instanceof Error) return refuse('leaf certificate does not parse as valid X.509')
  if (others.some((one) => one instanceof Error))
    return refuse('intermediate certificate does not parse as valid X.509')
  const asked = spec.stubPKCS10Request
    ? provenKey(Buffer.from(String(spec.stubPKCS10Request), 'base64'))
    : publicKeyOf(String(spec.pkixPublicKey))
  if (!asked.equals(leaf.publicKey)) return refuse('leaf certificate was not issued to the requested public key')
  return timeProblems(Number(spec.maxExpirationSeconds), status, leaf, nowMs)
}

function timeProblems(maxSeconds: number, status: Fields, leaf: X509Certificate, nowMs: number): FieldProblem[] {
  const consistent = 'must be present and consistent with the issued certificate'
  const texts = {
    notBefore: consistent,
    notAfter: consistent,
    beginRefreshAt: 'must be present and in the range [notbefore+10min, notafter-10min]',
  }
  const absent = Object.entries(texts).filter(([field]) => !status[field])
  if (absent.length > 0) return absent.map(([field, text]) => required(`status.${field}`, text))
  const [begin = 0, end = 0, refresh = 0] = Object.keys(texts).map((field) => Date.parse(String(status[field])))
  const refuse = (field: string, why: string): FieldProblem[] => [invalidValue(`status.${field}`, status[field], why)]
  const lifeMs = end - begin
  if (begin !== leaf.validFromDate.getTime()) {
    return refuse('notBefore', 'must be set to the NotBefore time encoded in the leaf certificate')
  }
  if (Math.abs(begin - nowMs) >= 5 * minuteMs) {
    return refuse('notBefore', "must be set to within 5 minutes of kube-apiserver's current time")
  }
  if (end !== leaf.validToDate.getTime()) {
    return refuse('notAfter', 'must be set to the NotAfter time encoded in the leaf certificate')
  }
  if (lifeMs < 60 * minuteMs) return refuse('certificateChain', 'leaf certificate lifetime must be >= 1 hour')
  if (lifeMs > maxSeconds * 1000) {
    const why = `leaf certificate lifetime must be <= spec.maxExpirationSeconds (${maxSeconds})`
    return refuse('certificateChain', why)
  }
  if (refresh < begin + 10 * minuteMs) {
    return refuse('beginRefreshAt', 'must be at least 10 minutes after status.notBefore')
  }
  return refresh > end - 10 * minuteMs
    ? refuse('beginRefreshAt', 'must be at least 10 minutes before status.notAfter')
    : []
}

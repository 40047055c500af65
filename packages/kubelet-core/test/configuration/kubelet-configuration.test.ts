// A KubeletConfiguration: its defaults, and how what is wrong in it is told.
import { expect, it, test } from 'vitest'
import { parseKubeletConfiguration } from '../../src/configuration/kubelet-configuration.ts'
import { idleSettings } from '../../src/configuration/unsupported.ts'
import { parseDuration } from '../../src/duration.ts'

const parse = (input: object) => parseKubeletConfiguration(input, 'kubelet.yaml')

it('completes an empty one with the defaults of the Go kubelet', () => {
  expect(parse({})).toMatchObject({
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    maxPods: 110,
    podPidsLimit: -1,
    containerLogMaxSize: '10Mi',
    containerLogMaxFiles: 5,
    imageGCHighThresholdPercent: 85,
    imageGCLowThresholdPercent: 80,
    evictionPressureTransitionPeriod: '5m',
    enforceNodeAllocatable: ['pods'],
    authentication: { webhook: { enabled: true, cacheTTL: '2m' }, anonymous: { enabled: false } },
    authorization: { mode: 'Webhook', webhook: { cacheAuthorizedTTL: '5m', cacheUnauthorizedTTL: '30s' } },
  })
})

it('takes what it made itself', () => {
  const complete = parse({ evictionHard: { 'memory.available': '5%' }, shutdownGracePeriod: '30s' })
  expect(parse(complete)).toEqual(complete)
})

it('takes zero for the default where the Go kubelet does', () => {
  expect(parse({ syncFrequency: '0s', imageMaximumGCAge: '0s' })).toMatchObject({
    syncFrequency: '1m',
    imageMaximumGCAge: '0s',
  })
})

test.each([
  [{ maxPod: 3 }, 'kubelet.yaml: (top): Unrecognized key: "maxPod"'],
  [{ maxPods: -1 }, 'kubelet.yaml: maxPods -1: Too small: expected number to be >=0'],
  [{ syncFrequency: 'soon' }, 'kubelet.yaml: syncFrequency "soon": is not a duration; write for instance 90s or 1m30s'],
  [
    { evictionHard: { 'memory.available': '101%' } },
    'kubelet.yaml: evictionHard.memory.available "101%": must be a quantity or a percentage from 0% to 100%',
  ],
  [
    { imageGCHighThresholdPercent: 70 },
    'kubelet.yaml: imageGCLowThresholdPercent 80: must be less than imageGCHighThresholdPercent 70',
  ],
  [
    { evictionSoft: { 'memory.available': '1Gi' } },
    'kubelet.yaml: evictionSoft.memory.available: evictionSoftGracePeriod must have this signal too',
  ],
  [
    { shutdownGracePeriod: '10s', shutdownGracePeriodCriticalPods: '20s' },
    'kubelet.yaml: shutdownGracePeriodCriticalPods "20s": must not be longer than shutdownGracePeriod',
  ],
  [{ containerLogMonitorInterval: '1s' }, 'kubelet.yaml: containerLogMonitorInterval "1s": must be at least 3s'],
  [
    { crashLoopBackOff: { maxContainerRestartPeriod: '10m' } },
    'kubelet.yaml: crashLoopBackOff.maxContainerRestartPeriod "10m": must be from 1s to 300s',
  ],
  [
    { enforceNodeAllocatable: ['kube-reserved'] },
    'kubelet.yaml: enforceNodeAllocatable: kube-reserved needs kubeReservedCgroup',
  ],
  [
    { kubeReserved: { cpu: 'much' } },
    'kubelet.yaml: kubeReserved.cpu "much": is not a quantity; write for instance 500m or 64Mi',
  ],
  [{ cgroupsPerQOS: false }, 'kubelet.yaml: enforceNodeAllocatable: must be empty while cgroupsPerQOS is false'],
  [{ systemCgroups: '/system' }, 'kubelet.yaml: systemCgroups "/system": needs cgroupRoot'],
  [{ systemCgroups: '/', cgroupRoot: '/pods' }, 'kubelet.yaml: systemCgroups "/": must not be the root'],
  [
    { contentType: 'text/html' },
    'kubelet.yaml: contentType "text/html": Invalid option: expected one of ""|"application/json"|"application/vnd.kubernetes.protobuf"',
  ],
])('%j is refused', (input, message) => {
  expect(() => parse(input)).toThrow(new RangeError(message))
})

test.each([
  ['0', 0],
  ['1m30s', 90_000],
  ['1.5h', 5_400_000],
  ['250ms', 250],
  ['100us', 0.1],
  ['-2s', -2000],
  ['.5s', 500],
])('%s lasts %d ms', (text, ms) => expect(parseDuration(text)).toBeCloseTo(ms, 6))

test.each(['', '5', '1d', 's', '1s2', '1 s'])('%j is no duration', (text) => {
  expect(() => parseDuration(text, 'field')).toThrow(RangeError)
})

it('what is not there is told of, not silently left out', () => {
  const defaults = parse({})
  expect(idleSettings(defaults, defaults, {})).toEqual([])
  const wanted = parse({ hairpinMode: 'none', featureGates: { X: true } })
  expect(idleSettings(wanted, defaults, {})).toEqual(['hairpinMode', 'featureGates.X'])
  const verbose = parse({ logging: { verbosity: 4 } })
  expect(idleSettings(verbose, defaults, {})).toEqual(['logging'])
  expect(idleSettings(verbose, defaults, { setLogLevel: () => {} })).toEqual([])
  expect(
    idleSettings(parse({ logging: { verbosity: 4, format: 'json' } }), defaults, { setLogLevel: () => {} }),
  ).toEqual(['logging'])
})

// Rules for resources of containers and pods refuse, in the API server's words.
import { describe, expect, it } from 'vitest'
import { ofContainer, ofSpec } from './refusal.ts'

const path = 'spec.containers[0]'

describe('resources', () => {
  const at = `${path}.resources`
  it.each([
    [
      'limits: {cpu: 1}, requests: {cpu: 2}',
      `${at}.requests: Invalid value: "2": must be less than or equal to cpu limit of 1`,
    ],
    [
      'limits: {cpu: -1}',
      `[${at}.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0, ${at}.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0]`,
    ],
    [
      'requests: {disk: 1}',
      `[${at}.requests[disk]: Invalid value: "disk": must be a standard resource type or fully qualified, ${at}.requests[disk]: Invalid value: "disk": must be a standard resource for containers]`,
    ],
    [
      'requests: {a/b/c: 1}',
      `[${at}.requests[a/b/c]: Invalid value: "a/b/c": a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName'), ${at}.requests[a/b/c]: Invalid value: "a/b/c": doesn't follow extended resource name standard, ${at}.limits: Required value: Limit must be set for non overcommitable resources]`,
    ],
    ['requests: {pods: 1}', `${at}.requests[pods]: Invalid value: "pods": must be a standard resource for containers`],
    [
      'requests: {example.com/gpu: 1}',
      `${at}.limits: Required value: Limit must be set for non overcommitable resources`,
    ],
    [
      'limits: {example.com/gpu: 2}, requests: {example.com/gpu: 1}',
      `${at}.requests: Invalid value: "1": must be equal to example.com/gpu limit of 2`,
    ],
    [
      'limits: {example.com/gpu: 500m}',
      `[${at}.limits[example.com/gpu]: Invalid value: "500m": must be an integer, ${at}.requests[example.com/gpu]: Invalid value: "500m": must be an integer]`,
    ],
    [
      'limits: {requests.example.com/gpu: 1}',
      `[${at}.limits[requests.example.com/gpu]: Invalid value: "requests.example.com/gpu": doesn't follow extended resource name standard, ${at}.requests[requests.example.com/gpu]: Invalid value: "requests.example.com/gpu": doesn't follow extended resource name standard]`,
    ],
    ['limits: {hugepages-2Mi: 2Mi}', `${at}: Forbidden: HugePages require cpu or memory`],
    [
      'limits: {cpu: 1, hugepages-2Mi: 3Mi}',
      `[${at}.limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi, ${at}.requests[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi]`,
    ],
    [
      'limits: {cpu: 1, hugepages-big: 1}',
      `[${at}.limits[hugepages-big]: Invalid value: "1": 1 is not positive integer multiple of hugepages-big, ${at}.requests[hugepages-big]: Invalid value: "1": 1 is not positive integer multiple of hugepages-big]`,
    ],
    [
      'limits: {memory: 1Gi, hugepages-2Mi: 4Mi}, requests: {hugepages-2Mi: 2Mi}',
      `${at}.requests: Invalid value: "2Mi": must be equal to hugepages-2Mi limit of 4Mi`,
    ],
    [
      'claims: [{name: c}, {name: c}, {}]',
      `[${at}.claims[0]: Not found: "c": must be one of the names in pod.spec.resourceClaims which is empty, ${at}.claims[1]: Not found: "c": must be one of the names in pod.spec.resourceClaims which is empty, ${at}.claims[1]: Duplicate value: "c", ${at}.claims[2]: Required value]`,
    ],
  ])('%s', (fields, message) => expect(ofContainer(`resources: {${fields}}`)).toBe(message))
})

describe('resources of the pod', () => {
  it.each([
    [
      'resources: {limits: {cpu: 1}, requests: {cpu: 2}}',
      'spec.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
    ],
    [
      'resources: {limits: {cpu: 1, ephemeral-storage: 1}}',
      'spec.resources.limits[ephemeral-storage]: Unsupported value: "ephemeral-storage": supported values: "cpu", "hugepages-", "memory"',
    ],
    [
      'resources: {requests: {disk: 1}}',
      'spec.resources.requests[disk]: Invalid value: "disk": must be a standard resource type or fully qualified',
    ],
    [
      'resources: {claims: [{name: c}]}',
      'spec.resources.claims: Forbidden: claims may not be set for Resources at pod-level',
    ],
    [
      'os: {name: windows}, resources: {limits: {cpu: 1}}',
      'spec.resources: Forbidden: may not be set for a windows pod',
    ],
    [
      'resources: {requests: {cpu: 1}}, containers: [{name: a, image: i, resources: {requests: {cpu: 600m}}}, {name: b, image: i, resources: {requests: {cpu: 600m}}}]',
      'spec.resources.requests[cpu]: Invalid value: "1": must be greater than or equal to aggregate container requests of 1200m',
    ],
    [
      'resources: {limits: {memory: 1Gi}}, containers: [{name: a, image: i, resources: {limits: {memory: 2Gi}, requests: {memory: 1Mi}}}]',
      'spec.containers[0].resources.limits[memory]: Invalid value: "2Gi": must be less than or equal to pod limits of 1Gi',
    ],
    [
      'resources: {limits: {cpu: 1, hugepages-2Mi: 2Mi}}, containers: [{name: a, image: i, resources: {limits: {cpu: 1, hugepages-2Mi: 2Mi}}}, {name: b, image: i, resources: {limits: {cpu: 0, hugepages-2Mi: 2Mi}}}]',
      '[spec.resources.requests[hugepages-2Mi]: Invalid value: "2Mi": must be greater than or equal to aggregate container requests of 4194304, spec.resources.limits[hugepages-2Mi]: Invalid value: "2Mi": must be greater than or equal to aggregate container limits of 4194304]',
    ],
  ])('%s', (fields, message) => expect(ofSpec(fields)).toBe(message))
})

// Rules for resolver and hosts file refuse, in the API server's words.
import { describe, expect, it } from 'vitest'
import { ofSpec } from './refusal.ts'
import { subdomain } from './wording.ts'

const ip = 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'

describe('resolver and hosts', () => {
  const many = (count: number, one: string): string => Array.from({ length: count }, () => one).join(', ')
  const listed = (count: number, one: string): string => JSON.stringify(Array.from({ length: count }, () => one))
  const long = 'a'.repeat(63)
  it.each([
    ['dnsPolicy: None', 'spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None'],
    [
      'dnsPolicy: None, dnsConfig: {searches: [a]}',
      'spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None',
    ],
    [
      `dnsConfig: {nameservers: [${many(4, '192.0.2.1')}]}`,
      `spec.dnsConfig.nameservers: Invalid value: ${listed(4, '192.0.2.1')}: must not have more than 3 nameservers`,
    ],
    [
      'dnsConfig: {nameservers: [dns.example.com]}',
      `spec.dnsConfig.nameservers[0]: Invalid value: "dns.example.com": ${ip}`,
    ],
    [
      `dnsConfig: {searches: [${many(33, 'a')}]}`,
      `spec.dnsConfig.searches: Invalid value: ${listed(33, 'a')}: must not have more than 32 search paths`,
    ],
    [
      `dnsConfig: {searches: [${many(32, `${long}.a`)}]}`,
      `spec.dnsConfig.searches: Invalid value: ${listed(32, `${long}.a`)}: must not have more than 2048 characters (including spaces) in the search list`,
    ],
    [
      'dnsConfig: {searches: [a..b]}',
      `spec.dnsConfig.searches[0]: Invalid value: "a..b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')`,
    ],
    ["dnsConfig: {options: [{value: '1'}]}", 'spec.dnsConfig.options[0]: Required value: must not be empty'],
    [
      "hostAliases: [{ip: 'fe80::1%eth0', hostnames: [A]}]",
      `[spec.hostAliases[0].ip: Invalid value: "fe80::1%eth0": ${ip}, spec.hostAliases[0].hostnames[0]: Invalid value: "A": ${subdomain}]`,
    ],
    ['hostAliases: [{ip: 010.0.0.1}]', `spec.hostAliases[0].ip: Invalid value: "010.0.0.1": ${ip}`],
  ])('%.80s', (fields, message) => expect(ofSpec(fields)).toBe(message))
})

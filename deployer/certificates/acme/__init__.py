"""Certificates that certbot gets on the controller (``certbot: controller``).

For a site that several hosts serve: `Issuer` orders once, the hosts answer the challenges, and the
caller hands chain and key to each of them. `CertificateStore` keeps what was issued, `schedule`
has it renewed.
"""
